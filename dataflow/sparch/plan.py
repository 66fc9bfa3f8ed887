"""A product decided on: numbers, rounds, work records and sizes, before it has addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.records import (
    Cut,
    Placed,
    cut_pieces,
    dealt,
    ordered_records,
    place_records,
    row_positions,
)
from celosia.dataflow.sparch.schedule import Schedule, schedule
from celosia.dataflow.sparch.structure import round_sizes
from celosia.dataflow.sparch.values import check_sums, to_numbers
from celosia.models.csr import Csr
from celosia.models.errors import CelosiaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How a product is made.

    ``rowwise`` sorts the nonzeros of each row by what they meet; otherwise streams are columns of
    the left matrix, condensed ones with ``condense``. ``huffman`` merges the lightest first, else
    in order. With ``reuse`` rows of B stay in the buffer; ``cut`` says how they lie there.
    """

    rowwise: bool = False
    condense: bool = True
    huffman: bool = True
    reuse: bool = True
    cut: Cut = field(default_factory=Cut)

    def __post_init__(self) -> None:
        if self.rowwise and not self.condense:
            raise ValueError("rowwise places are condensed: condense must be true")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What a program will do.

    ``left`` and ``right`` hold numbers in the engine's formats, without zeros; row i of
    ``right`` lies from element ``positions[i]`` of its place in memory on. ``records`` has the work
    records of each round, ``sizes`` how many elements it makes where none cancels to 0.
    """

    accelerator: SparchAccelerator
    strategy: Strategy
    left: Csr
    right: Csr
    schedule: Schedule
    positions: np.ndarray
    records: tuple[Placed, ...]
    sizes: tuple[int, ...]

    @property
    def products(self) -> int:
        """Products of two nonzeros."""
        return sum(int(placed.records.count.sum()) for placed in self.records)


def plan_product(left: Csr, right: Csr, accelerator: SparchAccelerator, strategy: Strategy) -> Plan:
    """Decide how ``left`` times ``right`` is made.

    Raises
    ------
    CelosiaError
        As :func:`celosia.dataflow.sparch.compile.compile_product`, where it is not of addresses.
    """
    _check_shapes(left, right, accelerator)
    left = to_numbers(left, accelerator.elements, "the left matrix")
    right = to_numbers(right, accelerator.elements, "the right matrix")
    check_sums(left, right, accelerator.elements)
    if strategy.cut.packed and not accelerator.packs:
        raise CelosiaError(
            f"a packed buffer needs at least {2 * (accelerator.pinned + 1)} lines with the "
            f"look-ahead of {accelerator.name}, which has {accelerator.right.lines}"
        )
    rounds = schedule(
        left, right, accelerator.tree.ways,
        rowwise=strategy.rowwise, condense=strategy.condense, huffman=strategy.huffman,
    )  # fmt: skip
    positions = row_positions(left, right, accelerator, strategy.cut)
    return Plan(
        accelerator=accelerator, strategy=strategy, left=left, right=right, schedule=rounds,
        positions=positions, sizes=round_sizes(left, right, rounds),
        records=tuple(_records(left, right, positions, rounds, accelerator, strategy)),
    )  # fmt: skip


def _check_shapes(left: Csr, right: Csr, accelerator: SparchAccelerator) -> None:
    if left.shape[1] != right.shape[0]:
        raise CelosiaError(
            f"the left matrix has {left.shape[1]} columns and the right one {right.shape[0]} rows: "
            "they must be equal"
        )
    most = 1 << accelerator.elements.index_bits
    rows, columns = left.shape[0], right.shape[1]
    if max(rows, columns) > most:
        raise CelosiaError(
            f"the product has {rows} rows and {columns} columns, and {accelerator.name} numbers "
            f"{most} of each with {accelerator.elements.index_bits} bits: take an engine with more "
            "index_bits"
        )


def _records(
    left: Csr,
    right: Csr,
    positions: np.ndarray,
    rounds: Schedule,
    accelerator: SparchAccelerator,
    strategy: Strategy,
) -> list[Placed]:
    """Return the work records of each round."""
    streams = int(rounds.stream.max(initial=-1)) + 2  # one more, of what meets an empty row
    leaf_of, round_of = np.zeros(streams, np.int64), np.full(streams, len(rounds.rounds))
    for number, each in enumerate(rounds.rounds):
        leaf_of[list(each.streams)] = np.arange(len(each.streams)) + len(each.sources)
        round_of[list(each.streams)] = number
    order = np.argsort(round_of[rounds.stream], kind="stable")
    ends = np.cumsum(np.bincount(round_of[rounds.stream], minlength=len(rounds.rounds)))
    found = []
    for number, each in enumerate(rounds.rounds):
        taken = order[ends[number - 1] if number else 0 : ends[number]]
        pieces = cut_pieces(left, right, positions, taken, accelerator, strategy.cut)
        if strategy.rowwise:
            free = accelerator.tree.ways - len(each.sources)
            leaves = dealt(pieces, free) + len(each.sources)
        else:
            leaves = leaf_of[rounds.stream[pieces.nonzero]]
        found.append(ordered_records(right, pieces, leaves))
    return place_records(found, accelerator, reuse=strategy.reuse, packed=strategy.cut.packed)

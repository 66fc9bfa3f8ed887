"""The timeline of a program: what each unit does in which cycle, from the timing model.

It is the walk that :func:`celosia.dataflow.timing.timing` prices, so its spans add up to the
counters of every run whose cycles and counters are as predicted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.descriptors import (
    Compute,
    Descriptor,
    End,
    Keep,
    Load,
    Post,
    Stamp,
    Store,
    Token,
    Unit,
    tokens,
    unit_of,
)
from celosia.dataflow.event_walk import Walked, walk_table
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import Program
from celosia.dataflow.stalls import Wait, waits
from celosia.dataflow.table import mask, tabulate
from celosia.dataflow.timing import LayerTiming, layer_timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One descriptor on its unit: cycles ``begin`` to ``end`` - 1 from start.

    Of compute and post it is their steps; of load and store the cycles that ``LOAD_BUSY`` and
    ``STORE_BUSY`` count for it, from the end of the one before where they overlap. Spans of a
    unit do not overlap, and are in order.

    Attributes
    ----------
    unit : Unit
        Which unit.
    what : str
        "load weights", "compute", "post", "store", "keep", "stamp".
    descriptor : int
        Its index in the program.
    layer : int
        Index of its layer in the program's.
    tile : int
        Number of the compute descriptor of its layer that it belongs to: of a load the next one
        in the program, of post and store the one before.
    dispatched, accepted, signalled : int
        When it was put in its unit's queue, when the unit took it, and when it was done.
    """

    unit: Unit
    what: str
    descriptor: int
    layer: int
    tile: int
    dispatched: int
    accepted: int
    signalled: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What happens in the ``cycles`` of a program.

    ``spans`` are in the order of the program, ``waits`` what the array waited for between its
    nests, ``layers`` the cycles of each layer by its stamps, ``levels`` of each token the cycles
    in which its counter changes, with the value from there on.
    """

    cycles: int
    spans: tuple[Span, ...]
    waits: tuple[Wait, ...]
    layers: tuple[LayerTiming, ...]
    levels: dict[Token, tuple[tuple[int, int], ...]]

    def of(self, unit: Unit) -> tuple[Span, ...]:
        """Return the spans of ``unit``, in order of time."""
        return tuple(span for span in self.spans if span.unit is unit)

    def busy(self, unit: Unit, bins: int) -> np.ndarray:
        """Return the share of cycles that ``unit`` is at work, in ``bins`` equal parts of time."""
        if bins < 1:
            raise ValueError(f"bins must be at least 1, not {bins!r}")
        edges = np.linspace(0, self.cycles, bins + 1)
        spans = self.of(unit)
        ends = np.array([(span.begin, span.end) for span in spans], float).reshape(-1, 2)
        # Cycles of work before each edge: whole spans, and the part of the one that it cuts.
        before = np.concatenate([[0.0], np.cumsum(ends[:, 1] - ends[:, 0])])
        begun = np.searchsorted(ends[:, 0], edges, side="right")
        last = np.maximum(begun - 1, 0)
        over = np.maximum(ends[last, 1] - edges, 0) if len(ends) else np.zeros(len(edges))
        work = before[begun] - np.where(begun > 0, over, 0)
        return np.asarray(np.diff(work) / np.diff(edges))


def timeline(program: Program, memory: MemoryModel) -> Timeline:
    """Return the timeline of ``program`` with ``memory``.

    Raises ``ValueError`` as :func:`celosia.dataflow.timing.timing`.
    """
    accelerator = program.accelerator
    table = tabulate(program.descriptors, accelerator)
    walked = walk_table(accelerator, table, program.program_address, memory)
    names = tuple(layer.name for layer in program.layers)
    return Timeline(
        cycles=walked.cycles,
        spans=tuple(_spans(program, walked)),
        waits=tuple(waits(table, walked, memory)),
        layers=layer_timings(names, walked.stamps),
        levels={
            token: _levels(program, walked, token)
            for token in tokens(keeps=accelerator.buffers.keeps)
        },
    )


def _spans(program: Program, walked: Walked) -> Iterator[Span]:
    ends = [layer.stop for layer in program.layers]
    tiles = _tiles(program)
    before = dict.fromkeys(Unit, 0)
    for index, descriptor in enumerate(program.descriptors):
        unit, accepted = unit_of(descriptor), int(walked.accepted[index])
        if isinstance(descriptor, End) or accepted < 0:
            continue
        signalled = int(walked.signalled[index])
        begin, end = accepted + 1, signalled + 1
        if isinstance(descriptor, Compute | Post):
            end = begin + descriptor.steps
        else:
            # A load is accepted while those before it still transfer.
            begin = max(begin, before[unit])
            before[unit] = end
        end = min(end, walked.cycles)
        if end > begin:
            yield Span(
                unit=unit,
                what=_what(descriptor),
                descriptor=index,
                layer=min(bisect_right(ends, index), len(ends) - 1),
                tile=tiles[index],
                dispatched=int(walked.dispatched[index]),
                accepted=accepted,
                signalled=signalled,
                begin=begin,
                end=end,
            )


def _what(descriptor: Descriptor) -> str:
    if isinstance(descriptor, Load):
        return f"load {descriptor.target.name.lower()}"
    return type(descriptor).__name__.lower()


def _tiles(program: Program) -> list[int]:
    """Return the number of the tile that each descriptor belongs to."""
    found = [0] * len(program.descriptors)
    for layer in program.layers:
        done = 0
        for index in range(layer.first, layer.stop):
            descriptor = program.descriptors[index]
            behind = isinstance(descriptor, Post | Store | Keep | Stamp)
            found[index] = max(done - 1, 0) if behind else done
            done += isinstance(descriptor, Compute)
    return found


def _levels(program: Program, walked: Walked, token: Token) -> tuple[tuple[int, int], ...]:
    """Return the changes of a token's counter: it shows them in the cycle after they happen."""
    bit = mask([token])
    changes: dict[int, int] = {}
    for index, descriptor in enumerate(program.descriptors):
        given = 0 if isinstance(descriptor, End) else mask(descriptor.signal)
        for taken, cycle, step in (
            (given, walked.signalled[index], 1),
            (mask(descriptor.wait), walked.accepted[index], -1),
        ):
            if taken & bit and 0 <= cycle < walked.cycles:
                changes[int(cycle) + 1] = changes.get(int(cycle) + 1, 0) + step
    level, found = 0, []
    for cycle in sorted(changes):
        if changes[cycle]:
            level += changes[cycle]
            found.append((cycle, level))
    return tuple(found)

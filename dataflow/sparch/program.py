"""Programs of the SpArch engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from celosia.dataflow.program import BaseProgram
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.descriptors import Descriptor
from celosia.dataflow.sparch.records import Cut, Placed
from celosia.dataflow.sparch.schedule import Schedule
from celosia.models.csr import Csr


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How a product is made.

    ``rowwise`` sorts the nonzeros of each row by what they meet; otherwise streams are columns of
    the left matrix, condensed ones with ``condense``. ``huffman`` merges the lightest first, else
    in order. With ``reuse`` lines stay in the buffer; ``cut`` says what a line is.
    """

    rowwise: bool = False
    condense: bool = True
    huffman: bool = True
    reuse: bool = True
    cut: Cut = field(default_factory=Cut)

    def __post_init__(self) -> None:
        if self.rowwise and not self.condense:
            raise ValueError("rowwise places are condensed: condense must be true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where the product lies: ``rows`` x ``columns``, at most ``capacity`` elements."""

    target: int
    pointers: int
    rows: int
    columns: int
    capacity: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparchProgram(BaseProgram):
    """A product of two sparse matrices, compiled. One start makes all of it.

    A round is a layer of the base: it ends with a stamp. ``left`` and ``right`` hold numbers in the
    engine's formats, without zeros; ``records`` has the work records of each round.
    """

    accelerator: SparchAccelerator
    descriptors: tuple[Descriptor, ...]
    left: Csr
    right: Csr
    schedule: Schedule
    records: tuple[Placed, ...]
    output: Output
    strategy: Strategy

"""A memory hierarchy as data: levels, spatial axes, and how accesses are counted.

Such an architecture is what other tools call one: capacities, energies and bandwidths. It is
priced by counting words; nothing here knows how the hardware does it. The dense engine's own
timing and energy are in :mod:`celosia.dataflow.timing` and its neighbours.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from decimal import Decimal

from celosia.dataflow.hierarchy.layer import Dim, Tensor


class InputTile(enum.Enum):
    """Which words of a strided input a tile holds: the box, its touched rows, touched pixels."""

    BOX = "box"
    ROWS = "rows"
    TOUCHED = "touched"


class Factors(enum.Enum):
    """Which tiles a search tries: divisors alone, or also those with a masked last tile."""

    PERFECT = "perfect"
    IMPERFECT = "imperfect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A memory, or many equal ones below a spatial axis.

    Attributes
    ----------
    name : str
    holds : tuple of Tensor
        The tensors whose tiles it holds; the others pass by.
    words : int or None
        Capacity of each instance; None: without limit.
    read_energy, write_energy : Decimal
        pJ a word.
    read_bandwidth, write_bandwidth, bandwidth : int or None
        Words a cycle of all instances together; ``bandwidth`` is shared by reads and writes.
        None: without limit.
    """

    name: str
    holds: tuple[Tensor, ...]
    words: int | None
    read_energy: Decimal
    write_energy: Decimal
    read_bandwidth: int | None = None
    write_bandwidth: int | None = None
    bandwidth: int | None = None

    def __post_init__(self) -> None:
        _check_name("level", self.name)
        if not self.holds or len(set(self.holds)) != len(self.holds):
            raise ValueError(f"level {self.name!r}: holds must name one or more tensors, each once")
        for key in ("words", "read_bandwidth", "write_bandwidth", "bandwidth"):
            value = getattr(self, key)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(
                    f"level {self.name!r}: {key} must be a positive integer, not {value!r}"
                )
        for key in ("read_energy", "write_energy"):
            _check_energy(f"level {self.name!r}: {key}", getattr(self, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis of the array: copies of all that lies below it.

    Attributes
    ----------
    name : str
    size : int
        Number of copies.
    above : str or None
        The outermost level that is copied; None: only the multipliers are.
    spreads : tuple of Dim
        The loops whose iterations may be spread over the copies. A word that several copies
        want in the same cycle is read once (multicast), partial sums of several copies are added
        up on their way (reduction).
    """

    name: str
    size: int
    above: str | None
    spreads: tuple[Dim, ...]

    def __post_init__(self) -> None:
        _check_name("axis", self.name)
        if type(self.size) is not int or self.size < 1:
            raise ValueError(
                f"axis {self.name!r}: size must be a positive integer, not {self.size!r}"
            )
        if not self.spreads or len(set(self.spreads)) != len(self.spreads):
            raise ValueError(f"axis {self.name!r}: spreads must name one or more loops, each once")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """What is counted, where tools differ.

    Attributes
    ----------
    drain_reads : bool
        A tile of outputs that leaves a level is read there, word by word (AccelForge); otherwise
        only the write above counts (Timeloop).
    first_reads : bool
        An accumulator is read before the first product of an output too.
    slides : bool
        A tile of inputs that moves along one loop keeps what overlaps, and only the new words are
        fetched; otherwise each tile is fetched whole.
    input_tile : InputTile
        What a tile of inputs of a strided layer holds.
    """

    drain_reads: bool = True
    first_reads: bool = False
    slides: bool = True
    input_tile: InputTile = InputTile.BOX


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A hierarchy of memories above an array of multipliers.

    Attributes
    ----------
    name : str
    levels : tuple of Level
        From the outermost, which holds every tensor and has no limit, to the innermost.
    axes : tuple of Axis
        From the outermost.
    mac_energy : Decimal
        pJ a product.
    accounting : Accounting
    factors : Factors
        The tiles that a search tries where the user does not say.
    comparison_only : bool
        Whether it is there to be compared with other tools: no hardware is made from it.
    """

    name: str
    levels: tuple[Level, ...]
    axes: tuple[Axis, ...]
    mac_energy: Decimal
    accounting: Accounting
    factors: Factors
    comparison_only: bool

    def __post_init__(self) -> None:
        _check_name("architecture", self.name)
        _check_energy("mac_energy", self.mac_energy)
        names = [level.name for level in self.levels] + [axis.name for axis in self.axes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name {name!r} is given twice")
        if not self.levels:
            raise ValueError("an architecture has at least one level")
        outer = self.levels[0]
        if outer.words is not None or set(outer.holds) != set(Tensor):
            raise ValueError(
                f"level {outer.name!r}, the outermost, must hold I, W and O and have no limit"
            )
        places = [self.axis_place(axis) for axis in self.axes]
        if places != sorted(places):
            raise ValueError("axes must be given from the outermost to the innermost")
        if 0 in places:
            raise ValueError(f"level {outer.name!r}, the outermost, cannot be copied")

    def level(self, name: str) -> Level:
        """Return the level called ``name``."""
        return self.levels[self.place(name)]

    def place(self, name: str) -> int:
        """Return how many levels lie outside the one called ``name``."""
        for index, level in enumerate(self.levels):
            if level.name == name:
                return index
        known = ", ".join(level.name for level in self.levels)
        raise ValueError(f"there is no level {name!r}: levels are {known}")

    def axis_place(self, axis: Axis) -> int:
        """Return how many levels lie outside ``axis``."""
        return len(self.levels) if axis.above is None else self.place(axis.above)

    def path(self, tensor: Tensor) -> tuple[int, ...]:
        """Return the places of the levels that hold ``tensor``, the outermost first."""
        return tuple(i for i, level in enumerate(self.levels) if tensor in level.holds)

    @property
    def energy_unit(self) -> int:
        """The least number of parts of a pJ in which every energy is a whole number."""
        energies = [self.mac_energy]
        for level in self.levels:
            energies += [level.read_energy, level.write_energy]
        return math.lcm(*(energy.as_integer_ratio()[1] for energy in energies))

    @property
    def time_unit(self) -> int:
        """The least number of parts of a cycle in which every word takes a whole number."""
        rates = [
            rate
            for level in self.levels
            for rate in (level.read_bandwidth, level.write_bandwidth, level.bandwidth)
            if rate is not None
        ]
        return math.lcm(*rates)


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{what}: name must be a word of letters, digits and _, not {name!r}")


def _check_energy(what: str, value: Decimal) -> None:
    if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
        raise ValueError(f"{what} must be a number of pJ, 0 or more, not {value!r}")
    if value.as_integer_ratio()[1] > 10**6:
        raise ValueError(f"{what} must have at most six digits behind the point, not {value}")

"""What an accelerator costs and gives, what is asked of it, and how far it is from that."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from celosia.dataflow.explore.strategy import Score
from celosia.dataflow.mapping import MOST_SAMPLES
from celosia.models.errors import CelosiaError


class Quantity(enum.Enum):
    """What can be asked for and limited."""

    FPS = "fps"
    ENERGY = "energy"
    EDP = "edp"
    DRAM = "dram"
    LUT = "lut"
    FF = "ff"
    DSP = "dsp"
    BRAM = "bram"
    ACCURACY = "accuracy"

    @property
    def wanted_large(self) -> bool:
        """Whether more of it is better."""
        return self in (Quantity.FPS, Quantity.ACCURACY)

    @property
    def unit(self) -> str:
        """What it is counted in."""
        return _UNITS[self]


_UNITS = {
    Quantity.FPS: "frames/s",
    Quantity.ENERGY: "uJ a frame",
    Quantity.EDP: "uJ ms a frame",
    Quantity.DRAM: "bytes a frame",
    Quantity.LUT: "look-up tables",
    Quantity.FF: "registers",
    Quantity.DSP: "DSP blocks",
    Quantity.BRAM: "block RAMs",
    Quantity.ACCURACY: "of 1",
}

BLOCKS = (Quantity.LUT, Quantity.FF, Quantity.DSP, Quantity.BRAM)
"""What a device has so many of."""

_WORDS = {
    Quantity.FPS: ("reaches", "too few"),
    Quantity.ENERGY: ("takes", "too much"),
    Quantity.EDP: ("takes", "too much"),
    Quantity.DRAM: ("moves", "too many"),
    Quantity.ACCURACY: ("has an accuracy of", "too little"),
    **dict.fromkeys(BLOCKS, ("needs", "too many")),
}
"""What an accelerator does with each, and how it misses a limit."""

_LONG = 1e15
"""From here on numbers are not written out."""

MAPPED = (Quantity.FPS, Quantity.ENERGY, Quantity.EDP, Quantity.DRAM)
"""What depends on the mapping: there is a bound for all mappings on the same accelerator."""

FRONT = (Quantity.FPS, Quantity.ENERGY, Quantity.LUT, Quantity.DSP, Quantity.BRAM)
"""What the Pareto front is over, with the accuracy where formats vary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is known of one accelerator with one variant of the network.

    Attributes
    ----------
    area : dict of str to float
        ``lut``, ``ff``, ``dsp`` and ``bram`` that it takes.
    cycles, bound : int or None
        Of one start, and the least that any mapping could take; None where it was not mapped.
    energy, energy_bound : float or None
        Of one start in uJ, and the least of any mapping.
    dram, dram_bound : int or None
        Bytes of one start over the memory ports, and the least of any mapping.
    problem : str
        Why it cannot run the network; "" where it can.
    """

    area: dict[str, float]
    cycles: int | None = None
    bound: int | None = None
    energy: float | None = None
    energy_bound: float | None = None
    dram: int | None = None
    dram_bound: int | None = None
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Outcome:
        """Return what :meth:`as_dict` was made from; ``TypeError`` if it is something else."""
        return cls(**value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """``quantity`` must be at most ``value``, or at least where more of it is better."""

    quantity: Quantity
    value: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"value must be 0 or more, not {self.value!r}")

    @property
    def text(self) -> str:
        """Such as ``fps >= 100``."""
        sign = ">=" if self.quantity.wanted_large else "<="
        return f"{self.quantity.value} {sign} {self._value}"

    @property
    def _value(self) -> str:
        whole = self.value.is_integer() and self.value < _LONG
        return f"{self.value:,.0f}" if whole else f"{self.value:,g}"

    def excess(self, found: float) -> float:
        """Return by how much ``found`` breaks it, as a share of it; 0 where it does not."""
        over = self.value - found if self.quantity.wanted_large else found - self.value
        return max(0.0, over) / (self.value or 1.0)

    def broken(self, found: float) -> str:
        """Return in words how ``found`` breaks it, in figures that show by how much."""
        verb, missed = _WORDS[self.quantity]
        if self.quantity in BLOCKS:
            # No part of a block is to be had.
            found = float(math.ceil(found))
            over, digits = found - math.floor(self.value), 0
        else:
            over = abs(found - self.value)
            digits = max(0, 1 - math.floor(math.log10(over)))
        return (
            f"it {verb} {found:,.{digits}f} {self.quantity.unit}, the limit is {self._value}: "
            f"{over:,.{digits}f} {missed}"
        )


def parse_limit(text: str) -> Limit:
    """Return the limit that a text such as ``fps>=100`` or ``lut<=50000`` says.

    Raises :class:`CelosiaError` saying what may be written.
    """
    for sign in (">=", "<="):
        name, found, number = text.partition(sign)
        if not found:
            continue
        known = {quantity.value: quantity for quantity in Quantity}
        quantity = known.get(name.strip())
        if quantity is None:
            raise CelosiaError(f"limit {text!r}: known quantities are {', '.join(known)}")
        wanted = ">=" if quantity.wanted_large else "<="
        if sign != wanted:
            raise CelosiaError(
                f"limit {text!r}: more {quantity.value} is "
                f"{'better' if quantity.wanted_large else 'worse'}, so write "
                f"{quantity.value}{wanted}{number.strip()}"
            )
        try:
            return Limit(quantity=quantity, value=float(number))
        except ValueError as error:
            raise CelosiaError(
                f"limit {text!r}: {number.strip()!r} is no number of 0 or more"
            ) from error
    raise CelosiaError(f"limit {text!r}: write quantity>=number or quantity<=number")


MOST_MHZ = 100_000
"""No circuit has such a clock; what is computed from it stays in range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a search is for.

    Attributes
    ----------
    objective : Quantity
        What is to be best.
    limits : tuple of Limit
        What must hold besides; a device's budget is among them.
    clock_mhz : float
        At which cycles become time.
    accuracies : tuple of float or None
        Of each variant of the network; None where it is not known.
    samples : int
        Frames that one start runs; cycles, energy and traffic are of all of them.
    """

    objective: Quantity
    limits: tuple[Limit, ...]
    clock_mhz: float
    accuracies: tuple[float | None, ...] = field(default=(None,))
    samples: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.clock_mhz <= MOST_MHZ:
            raise ValueError(
                f"clock_mhz must be above 0 and at most {MOST_MHZ:,}, not {self.clock_mhz!r}"
            )
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise ValueError(f"samples must be 1 to {MOST_SAMPLES}, not {self.samples!r}")
        asked = {self.objective, *(limit.quantity for limit in self.limits)}
        if Quantity.ACCURACY in asked and None in self.accuracies:
            raise ValueError("accuracies must be known where accuracy is asked for")

    @property
    def front(self) -> tuple[Quantity, ...]:
        """What the Pareto front is over, the objective first."""
        varied = len({a for a in self.accuracies if a is not None}) > 1
        kinds = (*FRONT, Quantity.ACCURACY) if varied else FRONT
        return tuple(dict.fromkeys((self.objective, *kinds)))

    def fps(self, cycles: float) -> float:
        """Return the frames a second of so many cycles a start."""
        return self.clock_mhz * 1e6 * self.samples / cycles

    def measure(self, outcome: Outcome, variant: int, quantity: Quantity) -> float | None:
        """Return the amount of ``quantity``; None where it is not known."""
        cycles, energy = outcome.cycles, outcome.energy
        if quantity is Quantity.FPS:
            return None if cycles is None else self.fps(cycles)
        if quantity is Quantity.ENERGY:
            return None if energy is None else energy / self.samples
        if quantity is Quantity.EDP:
            if cycles is None or energy is None:
                return None
            return energy * cycles / (self.clock_mhz * 1e3) / self.samples**2
        if quantity is Quantity.DRAM:
            return None if outcome.dram is None else outcome.dram / self.samples
        if quantity is Quantity.ACCURACY:
            return self.accuracies[variant]
        return outcome.area[quantity.value]

    def bound(self, outcome: Outcome, quantity: Quantity) -> float | None:
        """Return the best amount of ``quantity`` that any mapping on the same accelerator has.

        None where that is not known; for what mappings decide only (:data:`MAPPED`).
        """
        least = replace(
            outcome,
            cycles=outcome.bound,
            energy=outcome.energy_bound,
            dram=outcome.dram_bound,
        )
        return self.measure(least, 0, quantity) if quantity in MAPPED else None

    def gap(self, outcome: Outcome, quantity: Quantity) -> float | None:
        """Return by what share ``quantity`` is worse than its bound at most, 0..1.

        None where the bound is not known.
        """
        found, best = self.measure(outcome, 0, quantity), self.bound(outcome, quantity)
        if found is None or best is None:
            return None
        return 1 - (found / best if quantity.wanted_large else best / found)

    def broken(self, outcome: Outcome, variant: int) -> list[str]:
        """Return in words every limit that is known to be broken."""
        found = ((limit, self.measure(outcome, variant, limit.quantity)) for limit in self.limits)
        return [
            limit.broken(amount)
            for limit, amount in found
            if amount is not None and limit.excess(amount)
        ]

    def violation(self, outcome: Outcome, variant: int) -> float:
        """Return by how much limits are broken, each as a share of itself, added up.

        What is not known breaks nothing, but to be unable to run the network counts 1.
        """
        total = 1.0 if outcome.problem else 0.0
        for limit in self.limits:
            amount = self.measure(outcome, variant, limit.quantity)
            if amount is not None:
                total += limit.excess(amount)
        return total

    def score(self, outcome: Outcome, variant: int) -> Score:
        """Return what strategies are told."""
        values: Sequence[float | None] = [
            self.measure(outcome, variant, quantity) for quantity in self.front
        ]
        return Score(
            values=tuple(
                math.inf if value is None else -value if quantity.wanted_large else value
                for quantity, value in zip(self.front, values, strict=True)
            ),
            violation=self.violation(outcome, variant),
        )

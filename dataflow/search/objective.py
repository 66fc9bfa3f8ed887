"""What a search makes as small as it can."""

from __future__ import annotations

import math
from dataclasses import dataclass

from celosia.models.errors import CelosiaError

_PARTS = ("cycles", "energy", "dram")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a program or a part of it costs: cycles, pJ, bytes read from and written to memory."""

    cycles: int
    energy: float
    dram: int

    def __add__(self, other: Costs) -> Costs:
        return Costs(
            cycles=self.cycles + other.cycles,
            energy=self.energy + other.energy,
            dram=self.dram + other.dram,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Energy times delay, or a weighted sum of cycles, pJ and bytes of memory traffic.

    Attributes
    ----------
    name : str
        As it was asked for.
    cycles, energy, dram : float
        Weights of a cycle, a pJ and a byte; 0 or more, and one of them more.
    product : bool
        Energy times cycles; the weights are then not used.
    """

    name: str
    cycles: float = 0.0
    energy: float = 0.0
    dram: float = 0.0
    product: bool = False

    def __post_init__(self) -> None:
        weights = [getattr(self, part) for part in _PARTS]
        if any(not (math.isfinite(weight) and weight >= 0) for weight in weights):
            raise ValueError(f"weights must be numbers of 0 or more, not {weights}")
        if not self.product and not any(weights):
            raise ValueError("one weight at least must be more than 0")

    def score(self, costs: Costs) -> float:
        """Return what ``costs`` are worth: less is better."""
        if self.product:
            return costs.cycles * costs.energy
        return self.cycles * costs.cycles + self.energy * costs.energy + self.dram * costs.dram

    @property
    def parts(self) -> tuple[Objective, ...]:
        """The objectives of one quantity each whose best mappings may be the best by this one.

        Those that it weighs up; none where it is one. Of mappings that move the same bytes energy
        tells those that are nearer to moving fewer, so it goes with traffic.
        """
        weights = {part: self.product or getattr(self, part) > 0 for part in _PARTS}
        weights["dram"] &= not self.product
        names = [part for part, weighed in weights.items() if weighed]
        if names == ["dram"]:
            return (Objective.parse("energy"),)
        return tuple(Objective.parse(name) for name in names) if len(names) > 1 else ()

    def near(self, costs: Costs) -> Objective:
        """Return weights that say of small changes to ``costs`` how much the score changes.

        Scores by weights of the parts of a program add up, and products do not.
        """
        if not self.product:
            return self
        return Objective(name=self.name, cycles=costs.energy, energy=float(costs.cycles))

    def each(self, costs: Costs, samples: int) -> float:
        """Return the score of one of ``samples`` samples that together cost ``costs``."""
        return self.score(costs) / (samples * samples if self.product else samples)

    @staticmethod
    def parse(text: str) -> Objective:
        """Return ``cycles``, ``energy``, ``dram``, ``edp``, or weights: ``cycles=1,energy=0.02``.

        Raises :class:`CelosiaError` where it is neither.
        """
        if text == "edp":
            return Objective(name=text, product=True)
        weights: dict[str, float] = {}
        try:
            for part in (f"{text}=1" if text in _PARTS else text).split(","):
                key, _, value = part.partition("=")
                if key not in _PARTS or key in weights:
                    raise ValueError(f"{key!r} is unknown or given twice")
                weights[key] = float(value)
            cycles, energy, dram = (weights.get(part, 0.0) for part in _PARTS)
            return Objective(name=text, cycles=cycles, energy=energy, dram=dram)
        except ValueError as error:
            raise CelosiaError(
                f"objective {text!r}: {error}; it is one of {', '.join(_PARTS)}, edp, or weights "
                "such as cycles=1,energy=0.02"
            ) from error


CYCLES = Objective(name="cycles", cycles=1.0)
ENERGY = Objective(name="energy", energy=1.0)
EDP = Objective(name="edp", product=True)
DRAM = Objective(name="dram", dram=1.0)

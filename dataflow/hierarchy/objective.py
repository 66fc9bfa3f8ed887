"""What a search makes as small as it can."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from celosia.dataflow.hierarchy.architecture import Architecture
from celosia.dataflow.hierarchy.price import Price
from celosia.models.errors import CelosiaError

_PARTS = ("energy", "cycles", "dram")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Energy times delay, or a weighted sum of energy, cycles and words from outside.

    Attributes
    ----------
    name : str
        As it was asked for.
    energy : float
        Weight of a pJ.
    cycles : float
        Weight of a cycle.
    dram : float
        Weight of a word that the outermost level reads or writes.
    product : bool
        Energy times delay; then the weights are not used.
    """

    name: str
    energy: float = 0.0
    cycles: float = 0.0
    dram: float = 0.0
    product: bool = False

    def __post_init__(self) -> None:
        weights = [getattr(self, part) for part in _PARTS]
        if any(not 0 <= weight < float("inf") for weight in weights):
            raise ValueError(f"weights must be numbers of 0 or more, not {weights}")
        if not self.product and not any(weights):
            raise ValueError("one weight at least must be more than 0")

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Return the objective of a name, or of weights such as ``energy=1,cycles=20``.

        Raises :class:`CelosiaError` when it is neither.
        """
        if text == "edp":
            return cls(name=text, product=True)
        weights: dict[str, float] = {}
        try:
            for part in [f"{text}=1"] if text in _PARTS else text.split(","):
                key, _, value = part.partition("=")
                if key not in _PARTS or key in weights:
                    raise ValueError(f"{key!r} is unknown or given twice")
                weights[key] = float(value)
            energy, cycles, dram = (weights.get(part, 0.0) for part in _PARTS)
            return cls(name=text, energy=energy, cycles=cycles, dram=dram)
        except ValueError as error:
            raise CelosiaError(
                f"objective {text!r} is not understood ({error}): write energy, edp, cycles, dram, "
                "or weights of a pJ, a cycle and a word, such as energy=1,cycles=20,dram=0.5"
            ) from error

    def value(self, architecture: Architecture, found: Price) -> Fraction:
        """Return the objective's value for a price."""
        if self.product:
            return found.edp
        outside = found.words(architecture.levels[0].name)
        return (
            Fraction(self.energy) * found.energy
            + Fraction(self.cycles) * found.cycles
            + Fraction(self.dram) * outside
        )

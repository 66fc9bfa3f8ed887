"""What :mod:`celosia.sim.explain` says of the first difference of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celosia.sim.blame import Suspect
from celosia.sim.check import Divergence
from celosia.sim.locate import Location
from celosia.sim.waves import Views

SHOWN = 64
"""Most steps whose operands an explanation holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """One step that fed the value: words of activations and of its column's weights, lane by lane.

    Addresses of memory are None for what did not come from there.
    """

    descriptor: int
    tile: int
    activation_word: int
    activation_address: int | None
    activations: tuple[int, ...]
    weight_word: int
    weight_address: int | None
    weights: tuple[int, ...]

    def __str__(self) -> str:
        def where(address: int | None) -> str:
            return "kept on chip" if address is None else f"memory {address:#x}"

        pairs = " + ".join(
            f"{a} x {w}" for a, w in zip(self.activations, self.weights, strict=True) if w
        )
        return (
            f"activations[{self.activation_word}] ({where(self.activation_address)}), "
            f"weights[{self.weight_word}] ({where(self.weight_address)}): {pairs or 'nothing'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known of the first difference of a run.

    Attributes
    ----------
    divergence : Divergence
        The difference: layer, tensor, index, expected and got.
    suspect, reason : Suspect, str
        What is to blame, and why.
    descriptor : int or None
        The descriptor that is concerned, where one is, of tile ``tile``.
    cycles : tuple of int or None
        The range of the engine's cycle counter to look at: of that descriptor where it is the
        hardware's fault, else from the first load to the last write of the value.
    told : int or None
        What the interpreter makes of the program: ``got`` where the program is wrong.
    accumulators : tuple of int
        The sums that the value was made of, as the program says.
    fed : tuple of Fed
        The operands, at most :data:`SHOWN` steps of ``steps``.
    location : Location
        When the value was last written, and the signals round the cycles.
    views : Views or None
        The files that show them.
    """

    divergence: Divergence
    suspect: Suspect
    reason: str
    descriptor: int | None
    tile: int | None
    cycles: tuple[int, int] | None
    told: int | None
    accumulators: tuple[int, ...]
    steps: int
    fed: tuple[Fed, ...]
    location: Location
    views: Views | None

    def lines(self, steps: int = 4) -> list[str]:
        """Return all of it in words, with the operands of at most ``steps`` steps."""
        found = [f"first difference: {self.divergence}"]
        found.append(f"suspect: {self.suspect.value}: {self.reason}")
        if self.told is not None:
            found.append(f"the program, run by the interpreter, makes {self.told}")
        if self.descriptor is not None:
            tile = "" if self.tile is None else f", tile {self.tile} of the layer"
            found.append(f"descriptor {self.descriptor}{tile}")
        if self.cycles is not None:
            found.append(f"cycles {self.cycles[0]} to {self.cycles[1]} of the engine's counter")
        if self.accumulators:
            found.append(f"accumulators: {', '.join(map(str, self.accumulators))}")
        found += [f"fed by {step}" for step in self.fed[:steps]]
        if self.steps > steps:
            found.append(f"... {self.steps} steps in all")
        found.append(f"last written: {self.location}")
        if self.views is not None:
            found.append(f"to look at it: {self.views}")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "difference": str(self.divergence),
            "layer": getattr(self.divergence, "layer", None),
            "suspect": self.suspect.name.lower(),
            "reason": self.reason,
            "descriptor": self.descriptor,
            "tile": self.tile,
            "cycles": None if self.cycles is None else list(self.cycles),
            "told": self.told,
            "accumulators": list(self.accumulators),
            "steps": self.steps,
            "fed": [
                {name: getattr(step, name) for name in Fed.__dataclass_fields__}
                for step in self.fed
            ],
            "last_written": self.location.cycle,
            "views": None if self.views is None else self.views.as_dict(),
        }

"""How an imported layer agrees with what its file says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How a layer's requantisation agrees with what the file says of exact sums.

    ``differ`` of ``count`` sums, added up over all rows, give another code (a neighbour); they
    are None where sums were not gone through. ``margin`` is how far, in codes, a value can be from
    the exact one before it is rounded.
    """

    layer: str
    differ: int | None
    count: int
    margin: float

    @property
    def exact(self) -> bool:
        """Whether every input gives the code that the file says."""
        return self.differ == 0 if self.differ is not None else self.margin == 0

    def __str__(self) -> str:
        """Return the agreement in words."""
        if self.exact:
            return f"{self.layer}: exact for all sums"
        if self.differ is None:
            return f"{self.layer}: within {self.margin:.2g} codes before rounding"
        return (
            f"{self.layer}: {self.differ} of {self.count} sums give the code next to it "
            f"({self.margin:.2g} codes before rounding)"
        )

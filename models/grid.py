"""The real numbers that a tensor's codes stand for. Imports numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.models.formats import BlockScaling, Element
from celosia.models.vectors import quantise_vectors, spread_scales, vector_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The values that a tensor's codes stand for: the format's integers times ``scale``.

    With ``scaling`` integers are elements times the scale of their vector, so they go further.
    Where the real 0 has another code, ``zero``, codes are that much more than integers.
    """

    format: Element
    scale: float
    scaling: BlockScaling | None = None
    zero: int = 0

    @property
    def ends(self) -> tuple[int, int]:
        """Least and greatest integer."""
        if self.scaling is None:
            return self.format.low, self.format.high
        limit = vector_limit(self.format, self.scaling)
        return -limit if self.format.signed else 0, limit

    def kept(self, integers: np.ndarray) -> np.ndarray:
        """Return what is kept of ``integers`` (N, C, ...): elements times scales, or all."""
        if self.scaling is None:
            return integers
        elements, codes = quantise_vectors(integers, self.format, self.scaling)
        return np.asarray(elements * spread_scales(codes, self.scaling, integers.shape[1]))

    def settle(self, values: np.ndarray) -> np.ndarray:
        """Return the real numbers nearest to ``values`` (N, C, ...) that the tensor can hold."""
        rounded = np.rint(np.asarray(values, dtype=np.float64) / self.scale)
        integers = np.clip(rounded, *self.ends).astype(np.int64)
        return np.asarray(self.kept(integers) * self.scale)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Return the nearest codes to ``values``, int64, saturated."""
        rounded = np.rint(np.asarray(values, dtype=np.float64) / self.scale) + self.zero
        codes = np.clip(rounded, self.format.low, self.format.high)
        return np.asarray(codes, dtype=np.int64)

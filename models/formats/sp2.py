"""SP2: sums of two powers of two (MSQ, "Mix and Match", HPCA 2021, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.models.formats.base import Format, register_format


@register_format("sp2_N (N = 3..8)", r"sp2_(?P<bits>[0-9]{1,2})")
@dataclass(frozen=True, slots=True, kw_only=True)
class Sp2(Format):
    """Sign and two powers of two in ``bits`` bits (3..8): ``+-(q1 + q2)``.

    Code, from the top bit: sign, ``m1`` bits for q1, ``m2`` bits for q2, with
    ``1 + m1 + m2 = bits`` and ``m1 >= m2``. Field j of q1 selects 0 (j = 0) or
    ``2**(j-1)`` in units of q1's smallest step; field j of q2 selects 0 or
    ``2**(m1levels - m2levels + j - 1)``, so the largest of both is one half. For 4 bits the values
    are 0, 1, 2, 4, 5, 6, 8 and their negatives, in eighths.
    """

    def __post_init__(self) -> None:
        if not 3 <= self.bits <= 8:
            raise ValueError(f"sp2 format has 3 to 8 bits, not {self.bits!r}")

    @property
    def name(self) -> str:
        """``sp2_N``."""
        return f"sp2_{self.bits}"

    @property
    def m1(self) -> int:
        """Bits that select q1."""
        return self.bits // 2

    @property
    def m2(self) -> int:
        """Bits that select q2."""
        return self.bits - 1 - self.m1

    @property
    def q2_shift(self) -> int:
        """How far q2's smallest power lies above q1's smallest."""
        return (1 << self.m1) - (1 << self.m2)

    def decode_table(self) -> np.ndarray:
        codes = np.arange(1 << self.bits)
        q1 = (codes >> self.m2) & ((1 << self.m1) - 1)
        q2 = codes & ((1 << self.m2) - 1)
        magnitude = np.where(q1 > 0, 1 << np.maximum(q1 - 1, 0), 0) + np.where(
            q2 > 0, 1 << np.maximum(q2 - 1 + self.q2_shift, 0), 0
        )
        return np.where(codes >> (self.bits - 1), -magnitude, magnitude)

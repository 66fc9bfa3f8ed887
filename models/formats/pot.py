"""Powers of two, as in DeepShift, MSP and RMSMP ("RMSMP", ICCV 2021, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.models.formats.base import Format, register_format


@register_format("pot_N (N = 2..5)", r"pot_(?P<bits>[0-9]{1,2})")
@dataclass(frozen=True, slots=True, kw_only=True)
class Pot(Format):
    """Sign and an exponent field j of ``bits - 1`` bits (``bits`` 2..5).

    j = 0 is 0, any other ``2**(j - 1)``: for 4 bits 0, 1, 2, 4, ... 64 and their negatives.
    """

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 5:
            raise ValueError(f"pot format has 2 to 5 bits, not {self.bits!r}")

    @property
    def name(self) -> str:
        """``pot_N``."""
        return f"pot_{self.bits}"

    def decode_table(self) -> np.ndarray:
        codes = np.arange(1 << self.bits)
        field = codes & ((1 << self.bits - 1) - 1)
        magnitude = np.where(field > 0, 1 << np.maximum(field - 1, 0), 0)
        return np.where(codes >> (self.bits - 1), -magnitude, magnitude)

"""ESB: small floating point, exact as integers ("ESB", IEEE TPDS 33(11), 2022, section 3)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from celosia.models.formats.base import Format, register_format


@register_format(
    "esbN_L and uesbN_L (N = 2..8 bits, L of them linear)",
    r"(?P<unsigned>u?)esb(?P<bits>[0-9])_(?P<linear>[0-9])",
)
@dataclass(frozen=True, slots=True, kw_only=True)
class Esb(Format):
    """Sign (where ``signed``), exponent field E, and ``linear`` mantissa bits M, from the top bit.

    The value is M where E is 0 (subnormals), else ``(2**linear + M) << (E - 1)``: the float's
    value in units of its smallest step. There are no infinities. ``bits`` is 2..8, E has 1 to 4
    bits. ``esb4_1`` is OCP's FP4 E2M1 in halves (0, 1, 2, 3, 4, 6, 8, 12), ``esb6_3`` its FP6
    E2M3 in eighths, ``esb6_2`` its FP6 E3M2 in sixteenths; with 1 bit of exponent the values
    are those of fixed point with a sign.
    """

    linear: int
    signed: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"esb format has 2 to 8 bits, not {self.bits!r}")
        if not 0 <= self.linear or not 1 <= self.exponent_bits <= 4:
            raise ValueError(
                f"esb format has 1 to 4 exponent bits: of {self.bits} bits linear cannot be "
                f"{self.linear!r}"
            )

    @classmethod
    def from_name(cls, match: re.Match[str]) -> Esb:
        return cls(
            bits=int(match["bits"]), linear=int(match["linear"]), signed=not match["unsigned"]
        )

    @property
    def name(self) -> str:
        """``esbN_L`` or ``uesbN_L``."""
        return f"{'' if self.signed else 'u'}esb{self.bits}_{self.linear}"

    @property
    def exponent_bits(self) -> int:
        """Bits of the exponent field."""
        return self.bits - self.linear - self.signed

    def decode_table(self) -> np.ndarray:
        codes = np.arange(1 << self.bits)
        mantissa = codes & ((1 << self.linear) - 1)
        exponent = (codes >> self.linear) & ((1 << self.exponent_bits) - 1)
        normal = ((1 << self.linear) + mantissa) << np.maximum(exponent - 1, 0)
        magnitude = np.where(exponent > 0, normal, mantissa)
        negative = self.signed & (codes >> (self.bits - 1) == 1)
        return np.where(negative, -magnitude, magnitude)

"""Fixed point: plain integers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from celosia.models.formats.base import Format, register_format


@register_format("fixedN and ufixedN (N = 1..16)", r"(?P<unsigned>u?)fixed(?P<bits>[0-9]{1,2})")
@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed(Format):
    """Integers of ``bits`` bits (1..16), two's complement where ``signed``."""

    signed: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise ValueError(f"fixed format has 1 to 16 bits, not {self.bits!r}")

    @classmethod
    def from_name(cls, match: re.Match[str]) -> Fixed:
        return cls(bits=int(match["bits"]), signed=not match["unsigned"])

    @property
    def name(self) -> str:
        """``fixedN`` or ``ufixedN``."""
        return f"{'' if self.signed else 'u'}fixed{self.bits}"

    def decode_table(self) -> np.ndarray:
        codes = np.arange(1 << self.bits)
        negative = self.signed & (codes >> (self.bits - 1) == 1)
        return np.where(negative, codes - (1 << self.bits), codes)

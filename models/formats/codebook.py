"""Shared weights: codes index a short table of values, as in Deep Compression and EIE."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from celosia.models.formats.base import Format, register_format

MAX_CODEBOOK_BITS = 8
"""Widest code of a codebook."""
MAX_VALUE_BITS = 16
"""Widest value in a codebook, two's complement."""


@register_format(
    "codebook_V_V_... (2, 4, 8 ... 256 values, the first 0; m for minus)",
    r"codebook(?P<table>(_m?[0-9]{1,5})+)",
)
@dataclass(frozen=True, slots=True, kw_only=True)
class Codebook(Format):
    """A table of 2 to 256 values of 16 bits; code c stands for ``table[c]``, code 0 for 0.

    Code 0 is what padding entries of compressed matrices hold, so all others are what training
    may choose. Values may repeat: a table that was not filled ends with zeros.
    """

    table: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_CODEBOOK_BITS or len(self.table) != 1 << self.bits:
            raise ValueError(
                f"table of a codebook must have 2, 4, 8 ... 256 values for its {self.bits!r} bits, "
                f"not {len(self.table)}"
            )
        limit = 1 << MAX_VALUE_BITS - 1
        for value in self.table:
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"table of a codebook must hold integers, not {value!r}")
            if not -limit <= value < limit:
                raise ValueError(
                    f"table of a codebook must hold {-limit}..{limit - 1}, not {value}"
                )
        if self.table[0]:
            raise ValueError(f"table of a codebook must begin with 0, not {self.table[0]}")

    @classmethod
    def of(cls, values: np.ndarray, bits: int) -> Codebook:
        """Return the codebook of ``bits`` bits that holds 0 and the distinct ``values``, ascending.

        Raises ``ValueError`` if there are too many.
        """
        found = [int(value) for value in np.unique(values) if value]
        if len(found) >= 1 << bits:
            raise ValueError(
                f"a codebook of {bits} bits holds 0 and {(1 << bits) - 1} values, not {len(found)}"
            )
        return cls(bits=bits, table=(0, *found, *[0] * ((1 << bits) - 1 - len(found))))

    @classmethod
    def from_name(cls, match: re.Match[str]) -> Codebook:
        """Return the codebook with the values in ``match``'s only group."""
        texts = match["table"][1:].split("_")
        table = tuple(int(text.replace("m", "-")) for text in texts)
        return cls(bits=max(1, (len(table) - 1).bit_length()), table=table)

    @property
    def name(self) -> str:
        """``codebook_0_5_m3_...``."""
        return "_".join(["codebook", *(str(value).replace("-", "m") for value in self.table)])

    def decode_table(self) -> np.ndarray:
        return np.array(self.table, np.int64)

"""Scales of vectors: what the values of some neighbouring elements are multiplied by.

A row's reduction is cut into vectors of ``BlockScaling.vector`` elements. A vector's sum of
products is an integer; it is multiplied by the vector's scale, an integer too, and added to the
row's accumulator, so the row's sum is exact. The real number that scale 1 stands for is kept with
the row (VS-Quant's gamma, NVFP4's global scale, MX's lowest exponent), in its requantisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.models.formats.base import Format, Registry

_SCALES = Registry("scale format")

VECTORS = range(4, 65)
"""How many elements may share a scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleFormat(Format):
    """A format of scales: no value is negative.

    Some have a code for 0, which the hardware takes as such; no quantiser gives it, and no layer's
    weights may have it.
    """

    @property
    def top(self) -> int:
        """The largest scale that quantisers give."""
        return self.high


@_SCALES.register("uintN (N = 1..8)", r"uint(?P<bits>[0-9])")
@dataclass(frozen=True, slots=True, kw_only=True)
class IntScale(ScaleFormat):
    """Integers 0 to ``2**bits - 1``, ``bits`` 1..8 ("VS-Quant", MLSys 2021)."""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ValueError(f"integer scale has 1 to 8 bits, not {self.bits!r}")

    @property
    def name(self) -> str:
        """``uintN``."""
        return f"uint{self.bits}"

    def decode_table(self) -> np.ndarray:
        return np.arange(1 << self.bits)


@_SCALES.register("e8m0_N (N = 1..5)", r"e8m0_(?P<bits>[0-9])")
@dataclass(frozen=True, slots=True, kw_only=True)
class E8M0(ScaleFormat):
    """Powers of two, ``2**code``: the scales of OCP's microscaling formats (MX 1.0, section 5.4).

    E8M0 itself has 8 bits and reaches over 254 binades, which no accumulator does exactly. What
    is kept are the low ``bits`` (1..5) bits of the distance to the row's lowest exponent: OCP's
    code of a vector is that lowest one plus this code. Quantisers raise what lies more than
    ``2**bits - 1`` binades below the row's largest scale.
    """

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 5:
            raise ValueError(f"e8m0 scale keeps 1 to 5 bits, not {self.bits!r}")

    @property
    def name(self) -> str:
        """``e8m0_N``."""
        return f"e8m0_{self.bits}"

    def decode_table(self) -> np.ndarray:
        return np.left_shift(np.int64(1), np.arange(1 << self.bits))


@_SCALES.register("ue4m3", "ue4m3")
@dataclass(frozen=True, slots=True, kw_only=True)
class UE4M3(ScaleFormat):
    """Floats of 4 exponent bits E and 3 mantissa bits M without a sign, as NVFP4 has.

    In units of ``2**-9``: M where E is 0 (subnormals), else ``(8 + M) << (E - 1)``. The largest
    scale is 448, ``14 << 14``. Code 127 is E4M3's NaN: it decodes like its neighbours, to 480,
    and no quantiser gives it.
    """

    bits: int = 7

    def __post_init__(self) -> None:
        if self.bits != 7:
            raise ValueError(f"ue4m3 scale has 7 bits, not {self.bits!r}")

    @property
    def name(self) -> str:
        """``ue4m3``."""
        return "ue4m3"

    @property
    def top(self) -> int:
        """448 in units of ``2**-9``."""
        return 14 << 14

    def decode_table(self) -> np.ndarray:
        codes = np.arange(1 << self.bits)
        exponent, mantissa = codes >> 3, codes & 7
        return np.where(exponent > 0, (8 + mantissa) << np.maximum(exponent - 1, 0), mantissa)


def parse_scale(name: str) -> ScaleFormat:
    """Return the scale format called ``name``, such as ``uint4``, ``e8m0_4``, ``ue4m3``.

    Raises ``ValueError`` listing the known names, or as the format's constructor does.
    """
    scale = _SCALES.parse(name)
    assert isinstance(scale, ScaleFormat)
    return scale


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockScaling:
    """Scales for vectors along the reduction.

    Attributes
    ----------
    scale
        Format of the scales.
    vector
        Elements that share a scale, 4..64. The last vector of a reduction may be short: what is
        missing counts as 0.
    product_bits
        Bits that are kept of the product of a weight's and an activation's scale, from the top
        (VS-Quant), 1 to twice the scale's bits; None for all. Integer scales only:
        the products of the others are shifted, not multiplied out.
    """

    scale: ScaleFormat
    vector: int
    product_bits: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.scale, ScaleFormat):
            raise TypeError(f"scale must be a ScaleFormat, not {self.scale!r}")
        if not isinstance(self.vector, int) or isinstance(self.vector, bool):
            raise TypeError(f"vector must be an integer, not {self.vector!r}")
        if self.vector not in VECTORS:
            raise ValueError(f"vector must be in 4..64, not {self.vector!r}")
        if self.product_bits is None:
            return
        if not isinstance(self.scale, IntScale):
            raise ValueError(
                f"product_bits must be None for {self.scale.name}: only products of integer "
                "scales are rounded"
            )
        if not 1 <= self.product_bits <= 2 * self.scale.bits:
            raise ValueError(
                f"product_bits must be in 1..{2 * self.scale.bits}, not {self.product_bits!r}"
            )

    @property
    def text(self) -> str:
        """Scale format and vector as recipes have them: ``uint4:16``, ``uint4:16/6``."""
        kept = "" if self.product_bits is None else f"/{self.product_bits}"
        return f"{self.scale.name}:{self.vector}{kept}"

    @property
    def dropped_bits(self) -> int:
        """Low bits that :meth:`product` rounds away."""
        return 0 if self.product_bits is None else 2 * self.scale.bits - self.product_bits

    def product(self, weights: np.ndarray, activations: np.ndarray) -> np.ndarray:
        """Return the rounded product of scale values, int64, in units of ``2**dropped_bits``.

        Halves are rounded up, so the result may be ``2**product_bits``.
        """
        exact = np.asarray(weights, dtype=np.int64) * np.asarray(activations, dtype=np.int64)
        return np.asarray((exact + (1 << self.dropped_bits >> 1)) >> self.dropped_bits)

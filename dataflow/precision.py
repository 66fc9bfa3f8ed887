"""Precision of a layer, and the passes that a precision-scalable column takes for it.

Such a column holds a word of operands for several steps, its *passes*, and multiplies a part of
each operand in each. The formulas are those of the published units, generalised to operands of
unequal widths ``p_w`` (weights) and ``p_a`` (activations), 1 to 16 bits:

- tile ("2-in-1 Accelerator", MICRO 2021, as its abstract lets it be rebuilt): a bit-serial
  unit of 4 activation bits x 1 weight bit a lane. Activations fall into ``n_a = ceil(p_a / 4)``
  chunks of 4 bits, weights into ``n_w = ceil(p_w / 4)`` balanced ones of ``ceil(p_w / n_w)`` bits:
  ``n_a * n_w * ceil(p_w / n_w)`` passes, which for equal widths is ``n**2 * ceil(p / n)``.
- fusion ("Bit Fusion", ISCA 2018): 16 bricks of 2 x 2 bits for 16 lanes. Widths are rounded
  up to ``r`` = 2, 4, 8 or 16, 16 being two passes of 8: ``r_w * r_a / 4`` passes.
- serial ("Stripes", MICRO 2016): a whole weight x 1 activation bit a lane: ``p_a`` passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from celosia.dataflow.array_shape import Circuit
from celosia.models.formats import Format

MAX_PRECISION = 16
"""Widest operand of a precision-scalable column."""

CHUNK_BITS = 4
"""Activation bits that a lane of the tile multiplies at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Widths of a layer's operands, 1 to 16 bits each, and whether its weights have a sign."""

    weight_bits: int
    activation_bits: int
    weights_signed: bool

    def __post_init__(self) -> None:
        for field in ("weight_bits", "activation_bits"):
            check_width(field, getattr(self, field))


def check_width(field: str, value: int) -> None:
    """Raise unless ``value`` is an operand's width in bits; ``field`` names it."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{field} must be an integer, not {value!r}")
    if not 1 <= value <= MAX_PRECISION:
        raise ValueError(f"{field} must be in 1..{MAX_PRECISION}, not {value!r}")


def tile_weight_bits(weight_bits: int) -> int:
    """Return the weight bits that the tile runs through: balanced chunks of up to 4 bits."""
    chunks = -(-weight_bits // CHUNK_BITS)
    return chunks * -(-weight_bits // chunks)


def fusion_bits(bits: int) -> int:
    """Return the width to which Bit Fusion rounds up: 2, 4, 8 or 16 bits."""
    return max(2, 1 << (bits - 1).bit_length())


_FACTORS: Mapping[Circuit, tuple[Callable[[int], int], Callable[[int], int]]] = {
    Circuit.TILE: (tile_weight_bits, lambda bits: -(-bits // CHUNK_BITS)),
    Circuit.FUSION: (lambda bits: fusion_bits(bits) // 2, lambda bits: fusion_bits(bits) // 2),
    Circuit.SERIAL: (lambda _: 1, lambda bits: bits),
}


def pass_factors(circuit: Circuit, bits: int) -> tuple[int, int]:
    """Return the factors whose product is the passes of a word.

    The first is what weights of ``bits`` bits contribute, the second what activations of ``bits``
    bits do. Raises ``ValueError`` or ``TypeError`` where ``bits`` is not in 1..16.
    """
    check_width("bits", bits)
    weights, activations = _FACTORS[circuit]
    return weights(bits), activations(bits)


def passes(circuit: Circuit, precision: Precision) -> int:
    """Return the passes of a word on columns of a precision-scalable ``circuit``."""
    weights, _ = pass_factors(circuit, precision.weight_bits)
    _, activations = pass_factors(circuit, precision.activation_bits)
    return weights * activations


def weight_precision(formats: Iterable[Format] | None) -> tuple[int, bool]:
    """Return the bits that hold any value of ``formats``, and whether one is a sign.

    ``None`` stands for weights of 0 and 1, of which copies and pooling are made.
    """
    if formats is None:
        return 1, False
    ranges = {(fmt.low, fmt.high) for fmt in formats}
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    if low >= 0:
        return max(1, high.bit_length()), False
    return max((-low - 1).bit_length(), high.bit_length()) + 1, True

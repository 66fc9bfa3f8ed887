"""Scales of vectors: what a code stands for, and the product of two of them."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Const, Mux, Value

from celosia.models.formats import E8M0, UE4M3, BlockScaling, IntScale, ScaleFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A decoded scale: ``significand << shift``, the shift ``None`` where it is always 0."""

    significand: Value
    shift: Value | None


def decode_scale(scale: ScaleFormat, code: Value) -> Scale:
    """Return the scale that a ``code`` of format ``scale`` stands for.

    Raises ``ValueError`` for a format that has no decoder.
    """
    match scale:
        case IntScale():
            return Scale(significand=code, shift=None)
        case E8M0():
            return Scale(significand=Const(1, 1), shift=code)
        case UE4M3():
            normal = code[3:].any()
            significand = Mux(normal, 8, 0)[:4] | code[:3]
            return Scale(significand=significand, shift=(code[3:] - normal)[:4])
    raise ValueError(f"no decoder for scales of format {scale.name!r}")


def product_limit(scaling: BlockScaling, activation_scales: bool) -> int:
    """Return the greatest value that a vector's sum is multiplied by."""
    high = scaling.scale.decode_table().max()
    return max(int(high), int(scaling.product(high, high)) if activation_scales else 0)


def scale_product(scaling: BlockScaling, one: Scale, other: Scale) -> Scale:
    """Return the product of two scales, rounded as :meth:`BlockScaling.product` does."""
    if one.shift is not None and other.shift is not None:
        if isinstance(one.significand, Const) and isinstance(other.significand, Const):
            return Scale(significand=Const(1, 1), shift=one.shift + other.shift)
        significand = one.significand * other.significand
        return Scale(significand=significand, shift=one.shift + other.shift)
    dropped = scaling.dropped_bits
    high = scaling.scale.decode_table().max()
    rounded = (one.significand * other.significand + (1 << dropped >> 1)) >> dropped
    return Scale(significand=rounded[: int(scaling.product(high, high)).bit_length()], shift=None)

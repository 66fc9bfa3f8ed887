"""Product of a fixed-point weight and an activation."""

from __future__ import annotations

from amaranth.hdl import Module, Value

from celosia.models.formats import Fixed, Format


def fixed_product(m: Module, weight_format: Format, code: Value, activation: Value) -> Value:
    """Multiply by the code taken as an integer, signed where the format is."""
    del m  # a single expression
    if not isinstance(weight_format, Fixed):
        raise TypeError(f"weight_format must be a Fixed, not {weight_format!r}")
    weight: Value = code.as_signed() if weight_format.signed else code.as_unsigned()
    return weight * activation

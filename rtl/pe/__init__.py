"""Multipliers, one for each number format of weights.

A multiplier is a function that returns the product of a weight code and an activation as an
expression; what needs names or statements of its own goes into the module given.
"""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Module, Value

from celosia.models.formats import Fixed, Format, Sp2
from celosia.rtl.pe.fixed import fixed_product
from celosia.rtl.pe.sp2 import sp2_product

Product = Callable[[Module, Format, Value, Value], Value]
"""``product(m, format, code, activation)``: exact signed product, no registers.

``code`` is unsigned, ``format.bits`` wide; ``activation`` is signed. The result's shape is
signed and wide enough for every code and activation.
"""

PRODUCTS: dict[type[Format], Product] = {Fixed: fixed_product, Sp2: sp2_product}
"""The multiplier of each kind of format; a new format adds itself here."""


def product(m: Module, weight_format: Format, code: Value, activation: Value) -> Value:
    """Return the product of a weight ``code`` of ``weight_format`` and ``activation``.

    Raises ``ValueError`` when no multiplier is known for the format.
    """
    for kind, function in PRODUCTS.items():
        if isinstance(weight_format, kind):
            return function(m, weight_format, code, activation)
    raise ValueError(f"no multiplier for weights of format {weight_format.name!r}")


__all__ = ["PRODUCTS", "Product", "fixed_product", "product", "sp2_product"]

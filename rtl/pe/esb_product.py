"""Product of two small floating-point codes: a product of significands and one shift.

Both operands are of the format of ESB (IEEE TPDS 33(11), 2022, section 3): OCP's FP4 and FP6.
"""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Signal, Value

from celosia.models.formats import Esb
from celosia.rtl.pe.base import Term

TABLE_BITS = 6
"""Inputs of a look-up table: as many bits of both magnitudes together are one table a bit."""


def esb_product(
    m: Module,
    weight_format: Esb,
    activation_format: Esb,
    weight: Value,
    activation: Value,
    name: str,
) -> Term:
    """Return the product of two codes, inverted where it is negative, and the 1 it then owes.

    Where the magnitudes of both codes have six bits together, as with FP4 times FP4, each bit
    of the product of magnitudes is one look-up table of them; else the significands are
    multiplied and shifted by the sum of both exponents.

    Parameters
    ----------
    m : Module
        Takes the logic.
    weight_format, activation_format : Esb
        Formats of the codes.
    weight, activation : Value
        Codes, unsigned, as wide as their formats.
    name : str
        Ends the names of signals.
    """
    operands = ((weight_format, weight), (activation_format, activation))
    fields = [(fmt, code[: fmt.bits - fmt.signed]) for fmt, code in operands]
    small = sum(len(field) for _, field in fields) <= TABLE_BITS
    highest = weight_format.high * activation_format.high
    magnitude = Signal(highest.bit_length() + 1, name=f"magnitude_{name}")
    negative = Signal(name=f"negative_{name}")
    sign: Value = Const(0, 1)
    for fmt, code in operands:
        sign = sign ^ code[-1] if fmt.signed else sign
    m.d.comb += [
        magnitude.eq(_table(*fields) if small else _shifted(*fields)),
        negative.eq(sign),
    ]
    value = (magnitude ^ negative.replicate(len(magnitude))).as_signed()
    return Term(value=value, owed=negative)


def _table(*operands: tuple[Esb, Value]) -> Value:
    """Return the product of magnitudes as a table of both fields."""
    (weights, weight), (activations, activation) = (
        (fmt.decode_table()[: 1 << len(field)].tolist(), field) for fmt, field in operands
    )
    rows = [Array(one * other for other in activations) for one in weights]
    return Array(row[activation] for row in rows)[weight]


def _shifted(*operands: tuple[Esb, Value]) -> Value:
    """Return the product of significands, shifted by both exponents."""
    product: Value = Const(1, 1)
    shift: Value = Const(0, 1)
    for fmt, field in operands:
        exponent = field[fmt.linear :]
        normal = exponent.any()
        product = product * ((normal << fmt.linear) | field[: fmt.linear])
        shift = shift + (exponent - normal)[: fmt.exponent_bits]
    return product << shift

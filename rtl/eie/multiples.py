"""Multiples of constants: looked up part by part, so that at most one sum is made."""

from __future__ import annotations

from amaranth.hdl import Array, Const, Module, Value

from celosia.rtl.axi.burst import sum_of_three

TABLE = 6
"""Inputs of a look-up table."""


def looked_up(value: Value, factor: int, offset: int = 0, *, bits: int) -> Value:
    """Return the low ``bits`` of ``value * factor + offset``, by a table of them all."""
    found = (number * factor + offset for number in range(1 << len(value)))
    return Array(Const(number % (1 << bits), bits) for number in found)[value]


def multiple(m: Module, name: str, value: Value, factor: int, offset: int = 0) -> Value:
    """Return ``value * factor + offset``, which is not negative, by one carry chain.

    ``value`` has at most three times :data:`TABLE` bits.
    """
    bits = len(value) + factor.bit_length()
    parts: list[Value] = [Const(0)] * 3
    for number, start in enumerate(range(0, len(value), TABLE)):
        part = value[start : start + TABLE]
        parts[number] = looked_up(part, factor << start, 0 if start else offset, bits=bits)
    first, second, third = parts
    return sum_of_three(m, name, (first, second, third), 1 << bits)

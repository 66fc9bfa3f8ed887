"""Rules by which descriptors are legal: how they are put together, and those of sparse engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data

from celosia.dataflow.accelerator import Bus
from celosia.rtl.axi.burst import sum_of_three

TOGETHER = 16
"""Bits of which one step of logic finds that all are 0."""

Rule = tuple[data.StructLayout, Callable[[Any], list[Value]]]
"""The layout of a descriptor, and what must all be true of it."""


def are_zero(bits: Value) -> list[Value]:
    """Return whether all of ``bits`` are 0, in terms that are each one step of logic."""
    return [~bits[first : first + TOGETHER].any() for first in range(0, len(bits), TOGETHER)]


def address_rules(bus: Bus, address: Value) -> list[Value]:
    """Return that ``address`` is a multiple of a beat's bytes, and within the port's width."""
    low = (bus.data_bytes - 1).bit_length()
    return [*are_zero(address[:low]), *are_zero(address[bus.address_bits :])]


def all_of(m: Module, name: str, terms: list[Value]) -> Value:
    """Return whether all of ``terms``, one bit each, are 1: by a carry that runs through them."""
    total = Signal(len(terms) + 1, name=f"{name}_carry")
    m.d.comb += total.eq(Cat(terms) + 1)
    return total[-1]


def sum_fits(m: Module, name: str, first: Value, second: Value, most: int) -> Value:
    """Return whether the sum of two unsigned values is at most ``most``, by one carry chain."""
    width = max(len(first), len(second), most.bit_length())
    rest = Const((1 << width) - 1 - most)
    return sum_of_three(m, name, (first, second, rest), 4 << width)[width:] == 0


def check_rules(m: Module, descriptor: Value, legal: Value, rules: Mapping[Any, Rule]) -> None:
    """Drive ``legal``: ``rules`` have the opcode (an enum), hold, and all above its layout is 0.

    All rules of all opcodes are looked at beside each other.
    """
    is_code = {code: descriptor[:4] == code.value for code in rules}
    above: dict[tuple[Any, ...], list[Value]] = {}  # bits, by the opcodes that have them 0
    for bit, value in enumerate(descriptor):
        codes = tuple(code for code, (layout, _) in rules.items() if bit >= layout.size)
        if codes:
            above.setdefault(codes, []).append(value)
    kept: list[Value] = [Cat(is_code.values()).any()]
    for codes, bits in above.items():
        has = Cat(is_code[code] for code in codes).any()
        kept += [zero | ~has for zero in are_zero(Cat(bits))]
    for code, (layout, rule) in rules.items():
        body: Any = data.View(layout, descriptor[: layout.size])
        kept += [holds | ~is_code[code] for holds in rule(body)]
    m.d.comb += legal.eq(all_of(m, "legal", kept))

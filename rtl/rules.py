"""Rules by which descriptors are legal: how they are put together, and those of sparse engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data

from celosia.dataflow.accelerator import Bus

Rule = tuple[data.StructLayout, Callable[[Any], list[Value]]]
"""The layout of a descriptor, and what must all be true of it."""


def address_rules(bus: Bus, address: Value) -> list[Value]:
    """Return that ``address`` is a multiple of a beat's bytes, and within the port's width."""
    low = (bus.data_bytes - 1).bit_length()
    return [address[:low] == 0, address[bus.address_bits :] == 0]


def all_of(m: Module, name: str, terms: list[Value]) -> Value:
    """Return whether all of ``terms``, one bit each, are 1: by a carry that runs through them."""
    total = Signal(len(terms) + 1, name=f"{name}_carry")
    m.d.comb += total.eq(Cat(terms) + 1)
    return total[-1]


def check_rules(m: Module, descriptor: Value, legal: Value, rules: Mapping[Any, Rule]) -> None:
    """Drive ``legal``: ``rules`` have the opcode (an enum), hold, and all above its layout is 0."""
    with m.Switch(descriptor[:4]):
        for opcode, (layout, rule) in rules.items():
            body: Any = data.View(layout, descriptor[: layout.size])
            above = descriptor[layout.size :] == 0
            with m.Case(opcode.value):
                m.d.comb += legal.eq(Cat(above, *rule(body)).all())

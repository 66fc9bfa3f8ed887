"""Resets of an engine's units, each from a register of its own."""

from __future__ import annotations

from typing import TypeVar

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Apart, Shared

Unit = TypeVar("Unit", bound=Shared)


class UnitReset(Apart):
    """A register that resets one unit: with ``i``, or with the engine, one cycle later.

    A reset goes far and wide. From registers that lie each in its own unit it arrives in time.

    Members
    -------
    i : In(1)
        Reset in the next cycle.
    reset : Out(1)
        Reset in this cycle; 1 in the first after power-up.
    """

    i: Signal
    reset: Signal

    def __init__(self) -> None:
        super().__init__({"i": In(1), "reset": Out(1)}, name="unit_reset", parameters=())

    def build(self) -> Module:
        m = Module()
        active = Signal(init=1)
        m.d.sync += active.eq(self.i)
        m.d.comb += self.reset.eq(active)
        return m


def add_unit(m: Module, name: str, unit: Unit, reset: Value) -> Unit:
    """Add ``unit`` to ``m`` and return it; ``reset`` and the domain's reset it a cycle later."""
    m.submodules[name] = unit
    m.submodules[f"{name}_reset"] = register = UnitReset()
    m.d.comb += register.i.eq(reset)
    return unit.reset_by(register.reset)

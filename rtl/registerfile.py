"""The registers of a table, behind any bus front end."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Member, Out

from celosia.rtl.axi.lite import RegisterBus
from celosia.rtl.registers import ADDRESS_BITS, Access, Register
from celosia.rtl.shared import Shared


class CommandRegister(Shared):
    """A register of commands: what is written, in the cycle of the write, and 0 in others.

    A module of its own, so that it is not put together with what decides on other registers: on
    commands more depends.

    Parameters
    ----------
    register : Register
        Of at most 8 bits.

    Members
    -------
    write : In(1)
    write_address : In
        Word address.
    write_data : In(bits)
    write_strobe : In(1)
        Of the lowest byte.
    o : Out(bits)
    """

    write: Signal
    write_address: Signal
    write_data: Signal
    write_strobe: Signal
    o: Signal

    def __init__(self, register: Register) -> None:
        self._register = register
        super().__init__(
            {
                "write": In(1),
                "write_address": In(ADDRESS_BITS - 2),
                "write_data": In(register.width),
                "write_strobe": In(1),
                "o": Out(register.width),
            },
            name=f"command_{register.name}",
            parameters=(register,),
        )

    def build(self) -> Module:
        m = Module()
        here = self.write_address == self._register.offset // 4
        m.d.comb += self.o.eq(Mux(self.write & self.write_strobe & here, self.write_data, 0))
        return m


class RegisterFile(Shared):
    """The registers of a table, without bus timing.

    Members are the bus and a port for each register that has any bit, named like it: of READ an
    input, of READ_WRITE an output with its value, of COMMAND an output that holds the written ones
    in the cycle of the write.

    Parameters
    ----------
    registers : tuple of Register
        The table.

    Members
    -------
    bus : In(RegisterBus(address_bits=12))
        Accesses. Addresses of no register read as 0.
    lock : In(1)
        READ_WRITE registers without ``always`` do not change.
    """

    bus: Any
    lock: Signal

    def __init__(self, registers: tuple[Register, ...]) -> None:
        self._registers = registers
        ports: dict[str, Member] = {
            "bus": In(RegisterBus(address_bits=ADDRESS_BITS)),
            "lock": In(1),
        }
        for register in registers:
            if register.access is not Access.CONSTANT and register.width:
                side = In if register.access is Access.READ else Out
                ports[register.name] = side(register.width)
        super().__init__(ports, name="register_file", parameters=(registers,))

    @property
    def registers(self) -> tuple[Register, ...]:
        return self._registers

    def build(self) -> Module:
        m = Module()
        strobes = Cat(bit.replicate(8) for bit in self.bus.write_strobe)
        with m.Switch(self.bus.read_address):
            for register in self._registers:
                if register.access is not Access.COMMAND:
                    with m.Case(register.offset // 4):
                        m.d.comb += self.bus.read_data.eq(self._value(register))
        for register in self._registers:
            if register.access not in (Access.READ_WRITE, Access.COMMAND) or not register.width:
                continue
            port = getattr(self, register.name)
            if register.access is Access.COMMAND:
                m.submodules[register.name] = command = CommandRegister(register)
                m.d.comb += [
                    command.write.eq(self.bus.write),
                    command.write_address.eq(self.bus.write_address),
                    command.write_data.eq(self.bus.write_data),
                    command.write_strobe.eq(self.bus.write_strobe),
                    port.eq(command.o),
                ]
                continue
            written = Signal(name=f"{register.name}_written")
            free = Const(1) if register.always else ~self.lock
            here = self.bus.write_address == register.offset // 4
            m.d.comb += written.eq(self.bus.write & here & free)
            with m.If(written):
                merged = (self.bus.write_data & strobes) | (port & ~strobes)
                m.d.sync += port.eq(merged & register.mask)
        return m

    def _value(self, register: Register) -> Value | int:
        if register.access is Access.CONSTANT or not register.width:
            return register.reset
        value: Value = getattr(self, register.name)
        return value

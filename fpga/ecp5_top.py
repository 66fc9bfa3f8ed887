"""A small system that fits a board: the engine, memory of its own, and a serial link to a host.

The engine's AXI ports have more wires than a package has pins, so here they end inside: memory
is block RAM, and the host writes the memory image, starts a program and reads its results over
the link of :mod:`celosia.fpga.host_link`, with :class:`celosia.fpga.driver.UartTransport`.
"""

from __future__ import annotations

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator
from celosia.fpga.axi_ram import AxiRam
from celosia.fpga.frames import SILENCE_BYTES
from celosia.fpga.host_link import HostLink
from celosia.fpga.lite_manager import LiteManager
from celosia.fpga.serial_boards import LEDS, SerialBoard
from celosia.fpga.uart import UartReceiver, UartTransmitter
from celosia.rtl.core import build
from celosia.rtl.registers import ADDRESS_BITS, STATUS_OFFSET
from celosia.rtl.shared import Shared


class Ecp5Top(Shared):
    """Engine, block RAM and host link behind a board's pins.

    Parameters
    ----------
    accelerator : Accelerator
        Of the engine.
    memory_bytes : int
        Size of the memory at address 0; a power of two, at least 4 KiB.
    divisor : int
        Cycles for each bit of the serial link, at least 4.

    halvings : int
        How often the pin's clock is halved to make the system's.
    button_low, leds_low : bool
        Whether a pressed button, or a lit LED, is low.

    Members
    -------
    clk : In(1)
        The only clock.
    button : In(1)
        Resets everything but the memory's contents while pressed.
    uart_rx : In(1)
        From the host.
    uart_tx : Out(1)
        To the host.
    led : Out(4)
        From bit 0: busy, done, error (as the host last read them), interrupt.
    """

    clk: Signal
    button: Signal
    uart_rx: Signal
    uart_tx: Signal
    led: Signal

    def __init__(
        self,
        accelerator: Accelerator,
        *,
        memory_bytes: int,
        divisor: int,
        halvings: int = 0,
        button_low: bool = False,
        leds_low: bool = False,
    ) -> None:
        self._accelerator = accelerator
        self._memory_bytes = memory_bytes
        self._divisor = divisor
        self._halvings = halvings
        self._inverts = button_low, leds_low
        super().__init__(
            {
                "clk": In(1),
                "button": In(1),
                "uart_rx": In(1),
                "uart_tx": Out(1),
                "led": Out(LEDS),
            },
            name="ecp5_top",
            parameters=(accelerator, memory_bytes, divisor, halvings, button_low, leds_low),
        )

    @classmethod
    def of(
        cls,
        board: SerialBoard,
        accelerator: Accelerator,
        *,
        memory_bytes: int,
        divisor: int | None = None,
    ) -> Ecp5Top:
        """Return the system of ``board``; simulations take another ``divisor``."""
        return cls(
            accelerator,
            memory_bytes=memory_bytes,
            divisor=board.divisor if divisor is None else divisor,
            halvings=board.halvings,
            button_low=board.button_low,
            leds_low=board.leds_low,
        )

    def build(self) -> Module:
        m = Module()
        bus = self._accelerator.bus
        m.domains.sync = ClockDomain(local=True)
        m.submodules.engine = engine = build(self._accelerator)
        m.submodules.ram = ram = AxiRam(
            address_bits=bus.address_bits, data_bits=bus.data_bits, size_bytes=self._memory_bytes
        )
        m.submodules.manager = manager = LiteManager(address_bits=ADDRESS_BITS)
        m.submodules.receiver = receiver = UartReceiver(divisor=self._divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(divisor=self._divisor)
        m.submodules.link = link = HostLink(
            memory_bytes=self._memory_bytes, silence=10 * self._divisor * SILENCE_BYTES
        )
        wiring.connect(m, engine.m_axi_gmem0, ram.axi)
        wiring.connect(m, manager.axi, engine.s_axi_ctrl)
        wiring.connect(m, receiver.o, link.i)
        wiring.connect(m, link.o, transmitter.i)
        share_accesses(m, link, ram, manager)

        # The button is asynchronous: a reset that begins or ends late does no harm. It lasts two
        # cycles, as units follow the engine by one.
        pressed = Signal(3)
        m.domains.raw = ClockDomain(local=True, reset_less=True)
        button_low, leds_low = self._inverts
        m.d.raw += pressed.eq(Cat(self.button ^ int(button_low), pressed[:2]))
        clock: Value = self.clk
        if self._halvings:
            m.domains.fast = ClockDomain(local=True, reset_less=True)
            ticks = Signal(self._halvings)
            m.d.comb += ClockSignal("fast").eq(self.clk)
            m.d.fast += ticks.eq(ticks + 1)
            clock = ticks[-1]
        status = Signal(4)  # of the engine, as last read or written by the host
        m.d.comb += [
            ClockSignal().eq(clock),
            ClockSignal("raw").eq(clock),
            ResetSignal().eq(pressed[1:].any()),
            receiver.wire.eq(self.uart_rx),
            self.uart_tx.eq(transmitter.wire),
            self.led.eq(
                Cat(status[3], status[1], status[2], engine.interrupt)
                ^ (-int(leds_low) & (1 << LEDS) - 1)
            ),
        ]
        with m.If(manager.axi.rvalid & (manager.axi.araddr == STATUS_OFFSET)):
            m.d.sync += status.eq(manager.axi.rdata)
        return m


def share_accesses(m: Module, link: HostLink, ram: AxiRam, manager: LiteManager) -> None:
    """Connect the link's accesses to the memory and the registers, by their ``memory`` bit."""
    memory = link.access.p.memory
    for part, chosen in ((ram, memory), (manager, ~memory)):
        m.d.comb += [
            part.access.valid.eq(link.access.valid & chosen),
            part.access.p.write.eq(link.access.p.write),
            part.access.p.address.eq(link.access.p.address),
            part.access.p.data.eq(link.access.p.data),
            part.answer.ready.eq(link.answer.ready),
        ]
    m.d.comb += [
        link.access.ready.eq(Mux(memory, ram.access.ready, manager.access.ready)),
        # Only the part that was asked answers.
        link.answer.valid.eq(ram.answer.valid | manager.answer.valid),
        link.answer.payload.eq(Mux(ram.answer.valid, ram.answer.payload, manager.answer.payload)),
    ]

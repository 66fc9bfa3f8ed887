"""The memory side of a transfer: its bursts. Used by the load and the store unit."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator, Bus
from celosia.dataflow.descriptors import Buffer
from celosia.dataflow.microarchitecture import word_beats
from celosia.rtl.axi.burst import BurstSplitter, tagged_burst_layout
from celosia.rtl.shared import Shared
from celosia.rtl.walk import RunWalker, nest_layout

STRIDE_BITS = 32
"""Width of the memory strides of a transfer, bytes, signed."""


def run_bits(accelerator: Accelerator) -> int:
    """Width of the number of beats of one run of up to 65535 words of any buffer."""
    return (65535 * max(word_beats(buffer, accelerator) for buffer in Buffer)).bit_length()


def split_transfer(descriptor: Any, memory: Any, buffer: Any) -> list[Any]:
    """Return assignments of a descriptor's transfer to the walks of its two sides.

    Parameters
    ----------
    descriptor : View
        Has the fields of a :class:`~celosia.dataflow.descriptors.Transfer`.
    memory : View
        A :func:`~celosia.rtl.walk.nest_layout`, of bytes.
    buffer : View
        A :func:`~celosia.rtl.walk.word_nest_layout`.
    """
    return [
        memory.address.eq(descriptor.address),
        buffer.nest.address.eq(descriptor.buffer_address),
        buffer.words.eq(descriptor.words),
        *(memory[f"n{i}"].eq(descriptor[f"n{i}"]) for i in (1, 2, 3)),
        *(buffer.nest[f"n{i}"].eq(descriptor[f"n{i}"]) for i in (1, 2, 3)),
        *(memory[f"s{i}"].eq(descriptor[f"s{i}"]) for i in (1, 2, 3)),
        *(buffer.nest[f"s{i}"].eq(descriptor[f"d{i}"]) for i in (1, 2, 3)),
    ]


def transfer_layout(address_bits: int, beats_bits: int) -> data.StructLayout:
    """Return the layout of a nest of runs of ``beats`` beats each."""
    return data.StructLayout(
        {"nest": nest_layout(address_bits, STRIDE_BITS, 0), "beats": beats_bits}
    )


class TransferBursts(Shared):
    """Gives the bursts of a transfer, in order.

    A transfer taken in cycle t has its first burst offered in t+2, and each further one 2 cycles
    after the one before was taken. The next transfer can be taken in the cycle after the last
    burst was.

    Parameters
    ----------
    bus : Bus
        Widths and the longest burst.
    beats_bits : int
        Width of a run's number of beats.

    Members
    -------
    i : In(stream.Signature(transfer_layout(address_bits, beats_bits)))
        Transfers; counts at least 1, addresses and strides multiples of the beat's bytes.
    o : Out(stream.Signature(tagged_burst_layout(address_bits)))
        Bursts; ``last`` marks the last of a transfer.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, bus: Bus, beats_bits: int) -> None:
        self._bus = bus
        self._beats_bits = beats_bits
        super().__init__(
            {
                "i": In(stream.Signature(transfer_layout(bus.address_bits, beats_bits))),
                "o": Out(stream.Signature(tagged_burst_layout(bus.address_bits))),
            },
            name="transfer_bursts",
            parameters=(bus, beats_bits),
        )

    def build(self) -> Module:
        m = Module()
        bus = self._bus
        m.submodules.runs = runs = RunWalker(
            address_bits=bus.address_bits, stride_bits=STRIDE_BITS, lane_bits=0
        )
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits,
            data_bits=bus.data_bits,
            burst_beats=bus.burst_beats,
            run_bits=self._beats_bits,
        )
        busy = Signal()
        beats = Signal(self._beats_bits)
        m.d.comb += [
            runs.i.payload.eq(self.i.p.nest),
            runs.i.valid.eq(self.i.valid & ~busy),
            self.i.ready.eq(~busy),
            splitter.i.p.address.eq(runs.o.p.address),
            splitter.i.p.beats.eq(beats),
            splitter.i.p.last.eq(runs.o.p.last),
            splitter.i.valid.eq(runs.o.valid),
            runs.o.ready.eq(splitter.i.ready),
        ]
        wiring.connect(m, splitter.o, wiring.flipped(self.o))
        with m.If(~busy):
            m.d.sync += [busy.eq(self.i.valid), beats.eq(self.i.p.beats)]
        with m.If(self.o.valid & self.o.ready & self.o.p.last):
            m.d.sync += busy.eq(0)
        return m

"""The sequencer: reads the program from memory and hands each descriptor to its unit."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Out

from celosia.dataflow.descriptors import DESCRIPTOR_BYTES
from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.descriptors import Target
from celosia.dataflow.microarchitecture import UNIT_QUEUE_DEPTH
from celosia.rtl.eie.descriptors import (
    PLACE_BITS,
    ROW_BITS,
    CellLayout,
    LoadLayout,
    Opcode,
    RunLayout,
    StoreLayout,
)
from celosia.rtl.eie.legality import EieLegality
from celosia.rtl.eie.multiples import multiple
from celosia.rtl.eie.pe import GROUP_BITS
from celosia.rtl.queue import Queue
from celosia.rtl.sequencer import read_program, sequencer_ports
from celosia.rtl.shared import Shared

KINDS = {"load": (Opcode.LOAD.value,), "run": (Opcode.RUN.value,), "end": (Opcode.END.value,)}
"""What the sequencer tells apart, with opcodes."""
STEP_BITS = max(RunLayout.size, CellLayout.size, StoreLayout.size)
COUNT_BITS = 32
"""Of loads and steps, as descriptors count them."""


RUN_BITS = PLACE_BITS + GROUP_BITS
"""Of the beats of a load: a word of activations is up to 64 of them."""

LOAD = data.StructLayout(
    {
        "target": 3,
        "pe": 9,
        "after": COUNT_BITS,
        "place": PLACE_BITS,
        "beats": RUN_BITS,
        "last": RUN_BITS,
        "address": 64,
    }
)
"""What the load unit runs: a descriptor with its beats of the bus, and the number of the last."""


def step_layout(address_bits: int) -> data.StructLayout:
    """Return the layout of what the compute unit runs: a descriptor and its address."""
    return data.StructLayout({"descriptor": STEP_BITS, "address": address_bits})


class EieSequencer(Shared):
    """Hands the descriptors of a program to the queues of its two units, in order, one a cycle.

    :class:`~celosia.rtl.sequencer.ProgramFetch` has the bursts: a descriptor whose last beat
    transfers in cycle c is handed over in c+1 at the earliest, and can be taken by its unit in the
    cycle after. The end is handed over only when nothing that was asked for is missing. A
    descriptor that waits for more than comes before it is illegal.

    Parameters
    ----------
    accelerator : EieAccelerator

    Members
    -------
    start : In(1)
        Run the program; only after a reset or an end.
    address : In(address_bits)
        Of the program, a multiple of 256.
    chunks : In(32)
        Of the program.
    stop : In(1)
        Hand over nothing in this cycle.
    o : Out(stream.Signature(burst_layout(address_bits)))
        Bursts, to the read port.
    beats : In(Flow(data_bits))
        Their beats.
    load : Out(stream.Signature(LOAD))
    step : Out(stream.Signature(step_layout(address_bits)))
        From the units' queues.
    error : Out(ErrorReport(...))
        An illegal descriptor, or a program without an end (the address is then the first after).
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._accelerator = accelerator
        bus = accelerator.bus
        super().__init__(
            sequencer_ports(bus)
            | {
                "load": Out(stream.Signature(LOAD)),
                "step": Out(stream.Signature(step_layout(bus.address_bits))),
            },
            name="eie_sequencer",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus = self._accelerator.bus
        fetch, descriptors = read_program(m, self, bus, EieLegality(self._accelerator), KINDS)
        m.submodules.loads = loads = Queue(LOAD, depth=UNIT_QUEUE_DEPTH)
        m.submodules.steps = steps = Queue(step_layout(bus.address_bits), depth=UNIT_QUEUE_DEPTH)
        wiring.connect(m, loads.o, wiring.flipped(self.load))
        wiring.connect(m, steps.o, wiring.flipped(self.step))

        running, address = Signal(), Signal(bus.address_bits)
        load_count, step_count = Signal(COUNT_BITS), Signal(COUNT_BITS)
        descriptor = descriptors.p.descriptor
        load: Any = data.View(LoadLayout, descriptor[: LoadLayout.size])
        run: Any = data.View(RunLayout, descriptor[: RunLayout.size])
        is_load, is_run, is_end = descriptors.p.load, descriptors.p.run, descriptors.p.end
        legal, go = Signal(), Signal()
        words, is_word = load.beats[:ROW_BITS], load.target == Target.ACTIVATIONS
        each = self._accelerator.word_beats
        m.d.comb += [
            legal.eq(
                descriptors.p.legal
                & (~is_load | (load.after <= step_count))
                & (~is_run | (run.after <= load_count))
            ),
            go.eq(running & ~self.stop & descriptors.valid & legal & ~(is_end & fetch.missing)),
            descriptors.ready.eq(go & Mux(is_load, loads.i.ready, steps.i.ready)),
            loads.i.p.beats.eq(Mux(is_word, multiple(m, "beats", words, each), load.beats)),
            loads.i.p.last.eq(
                Mux(is_word, multiple(m, "last_beat", words, each, -1), load.beats - 1)
            ),
            *(
                getattr(loads.i.p, name).eq(getattr(load, name))
                for name in ("target", "pe", "after", "place", "address")
            ),
            loads.i.valid.eq(go & is_load),
            steps.i.p.descriptor.eq(descriptor[:STEP_BITS]),
            steps.i.p.address.eq(address),
            steps.i.valid.eq(go & ~is_load),
            self.error.address.eq(address),
        ]
        m.d.sync += self.error.raised.eq(
            running & ~self.stop & Mux(descriptors.valid, ~legal, fetch.exhausted & ~fetch.missing)
        )
        with m.If(descriptors.valid & descriptors.ready):
            m.d.sync += [
                address.eq(address + DESCRIPTOR_BYTES),
                running.eq(~is_end),
                load_count.eq(load_count + is_load),
                step_count.eq(step_count + ~is_load),
            ]
        with m.If(self.start):
            m.d.sync += [
                address.eq(self.address),
                running.eq(1),
                load_count.eq(0),
                step_count.eq(0),
            ]
        return m

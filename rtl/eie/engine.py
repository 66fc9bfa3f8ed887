"""The EIE engine: shell, sequencer, load and compute units, processing elements."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.descriptors import ALL_PES
from celosia.dataflow.eie.program import EieCounter
from celosia.rtl.eie.control import Broadcaster, EieControl
from celosia.rtl.eie.load import EieLoad
from celosia.rtl.eie.multiples import TABLE
from celosia.rtl.eie.pe import Pe
from celosia.rtl.eie.sequencer import EieSequencer
from celosia.rtl.eie.store import EieStore
from celosia.rtl.eie.tally import AnyOf, Tally, popcount
from celosia.rtl.readport import ReadPort
from celosia.rtl.registers import CAUSES, Cause, Field, Register, register_map, shape_registers
from celosia.rtl.rules import all_of
from celosia.rtl.shared import Shared
from celosia.rtl.shell import Shell, connect_memory, engine_ports
from celosia.rtl.unit_reset import add_unit

EIE_CAUSES = (*CAUSES, Cause.CORRUPT_POINTER, Cause.CORRUPT_INDEX)


def eie_registers(accelerator: EieAccelerator, fingerprint: int) -> tuple[Register, ...]:
    """Return the register map of an EIE engine; see :func:`register_map`."""
    array, widths = accelerator.array, accelerator.widths
    shape = shape_registers(
        (
            Field(name="pes", low=0, width=16, doc="Processing elements."),
            Field(name="queue", low=16, width=8, doc="Depth of an activation queue."),
            Field(name="channels", low=24, width=8, doc="Activations broadcast a cycle."),
        ),
        (
            Field(name="accumulator_bits", low=0, width=8, doc="Bits of an accumulator."),
            Field(name="activation_bits", low=8, width=8, doc="Bits of an activation."),
            Field(name="weight_bits", low=16, width=8, doc="Bits of a weight's code."),
            Field(name="index_bits", low=24, width=8, doc="Bits of a relative index."),
        ),
        values={
            "pes": array.pes,
            "queue": array.queue,
            "channels": array.channels,
            "accumulator_bits": widths.accumulator,
            "activation_bits": widths.activation,
            "weight_bits": widths.weight,
            "index_bits": widths.index,
        },
    )
    return register_map(
        shape,
        bus=accelerator.bus,
        fingerprint=fingerprint,
        counters=EieCounter,
        causes=EIE_CAUSES,
    )


def step_widths(accelerator: EieAccelerator) -> dict[str, int]:
    """Return the bits by which counters move in a cycle: several PEs, no cells."""
    pes = accelerator.array.pes.bit_length()
    channels = accelerator.array.channels.bit_length()
    return {
        "broadcasts": channels,
        "stalls": channels,
        "pointer_reads": pes,
        "row_reads": pes,
        "entries": pes,
        "cell_rows": 0 if accelerator.cell is None else 1,
    }


class EieEngine(Shared):
    """The EIE engine: runs whole programs from memory, one start and one interrupt each.

    Parameters
    ----------
    accelerator : EieAccelerator
    fingerprint : int
        Hash of it, 128 bits, for its registers.

    Members
    -------
    s_axi_ctrl, m_axi_gmem0 and up, interrupt
        As in :func:`~celosia.rtl.shell.engine_ports`.
    """

    def __init__(self, accelerator: EieAccelerator, *, fingerprint: int) -> None:
        self._accelerator = accelerator
        self._registers = eie_registers(accelerator, fingerprint)
        super().__init__(
            engine_ports(accelerator.bus), name="eie_engine", parameters=(accelerator, fingerprint)
        )

    def build(self) -> Module:
        m = Module()
        accelerator, bus = self._accelerator, self._accelerator.bus
        m.submodules.shell = shell = Shell(
            self._registers,
            bus=bus,
            causes=EIE_CAUSES,
            counters=EieCounter,
            widths=step_widths(accelerator),
        )
        reset = shell.reset_units
        sequencer = add_unit(m, "sequencer", EieSequencer(accelerator), reset)
        read_port = add_unit(m, "read_port", ReadPort(bus), reset)
        load = add_unit(m, "load", EieLoad(accelerator), reset)
        control = add_unit(m, "control", EieControl(accelerator), reset)
        store = add_unit(m, "store", EieStore(accelerator), reset)
        connect_memory(
            m, self, shell=shell, sequencer=sequencer, read_port=read_port, load=load, store=store
        )
        wiring.connect(m, sequencer.load, load.i)
        wiring.connect(m, sequencer.step, control.i)
        m.d.comb += [
            control.start.eq(shell.start),
            control.loads.eq(load.done),
            load.steps.eq(control.steps),
            store.begin.eq(control.store_begin),
            store.stamp.eq(control.store_stamp),
            store.what.eq(control.store_what),
            control.store_read.eq(store.read),
            control.store_row.eq(store.row),
            control.store_done.eq(store.done),
            shell.finished.eq(control.finished),
            shell.steps.read_beats.eq(read_port.beat),
            shell.steps.write_beats.eq(store.beat),
            shell.steps.run_cycles.eq(control.running),
        ]
        if accelerator.cell is not None:
            m.d.comb += shell.steps.cell_rows.eq(control.cell_row)
        self._elements(m, shell, load, control, store)
        return m

    def _elements(
        self, m: Module, shell: Shell, load: EieLoad, control: EieControl, store: EieStore
    ) -> None:
        """Add the processing elements, and what they tell control and counters."""
        accelerator, array = self._accelerator, self._accelerator.array
        lanes, lane_bits = accelerator.activation_lanes, accelerator.activation_lane_bits
        to_all = load.comes.pe == ALL_PES
        pes: list[Any] = []
        for index in range(array.pes):
            pe = add_unit(m, f"pe_{index}", Pe(accelerator), shell.reset_units)
            pes.append(pe)
            m.d.comb += [
                pe.index.eq(index),
                pe.tile.eq(control.tile),
                pe.mine.eq(load.comes.enable & ((load.comes.pe == index) | to_all)),
                pe.own.eq(load.comes.enable & (load.comes.group == index // lanes)),
                pe.write.eq(load.write),
                pe.word.eq(load.write.data.word_select(index % lanes, lane_bits)),
                pe.scan.eq(control.scan),
            ]
            if accelerator.cell is not None:
                m.d.comb += pe.cell.eq(control.cell)
            if array.skip_empty:
                m.d.comb += pe.bitmap.eq(control.bitmap)
        share = array.pes // array.channels
        channels: list[Any] = []
        for number in range(array.channels):
            broadcaster = Broadcaster(accelerator, number)
            channel = add_unit(m, f"channel_{number}", broadcaster, shell.reset_units)
            channels.append(channel)
            own = pes[number * share : (number + 1) * share]
            m.d.comb += [
                channel.run.eq(control.search),
                channel.base.eq(control.base),
                channel.found.eq(Cat(pe.found for pe in own)),
                channel.candidates.eq(Cat(pe.candidate for pe in own)),
                channel.values.eq(Cat(pe.activation for pe in own)),
                *(pe.take.eq(channel.take[place]) for place, pe in enumerate(own)),
            ]
            m.submodules[f"full_{number}"] = full = AnyOf(array.pes)
            m.d.comb += full.i.eq(Cat(pe.full[number] for pe in pes))
            m.d.sync += channel.full.eq(full.o)
            for pe in pes:
                m.d.comb += [
                    pe.broadcast[number].eq(channel.fires),
                    getattr(pe, f"item_{number}").eq(channel.item),
                ]
        words = [pe.activation for pe in pes]
        # Only channels with buffers hold what they found.
        holds = [channel.held for channel in channels] if array.buffer_levels else []
        found = Cat(*(pe.found for pe in pes), *holds).any()
        m.d["sync" if accelerator.late_windows else "comb"] += control.found.eq(found)
        at_rest = Cat(*(pe.idle for pe in pes), *(~channel.fires for channel in channels))
        parts = [at_rest[first : first + TABLE] for first in range(0, len(at_rest), TABLE)]
        m.d.sync += control.idle.eq(all_of(m, "idle", [part.all() for part in parts]))
        m.d.comb += [
            control.empty.eq(Cat(channel.empty for channel in channels).all()),
            # Sign-extended to their lanes.
            *(
                store.word.word_select(place, lane_bits).eq(word)
                for place, word in enumerate(words)
            ),
        ]
        beyond = [channel.valid & (channel.item.place >= control.end) for channel in channels]
        # Reported by registers: the next step is accepted in the same cycle at the earliest.
        m.d.sync += [
            shell.corrupt_pointer.raised.eq(Cat(pe.corrupt_pointer for pe in pes).any()),
            shell.corrupt_index.raised.eq(Cat(*(pe.corrupt_index for pe in pes), *beyond).any()),
        ]
        m.d.comb += [
            shell.corrupt_pointer.address.eq(control.address),
            shell.corrupt_index.address.eq(control.address),
            shell.steps.broadcasts.eq(popcount([channel.fires for channel in channels])),
            shell.steps.stalls.eq(
                popcount([channel.valid & ~channel.fires for channel in channels])
            ),
        ]
        # What they count is in the counters before the next step can be the end.
        for name in ("pointer_reads", "row_reads", "entries"):
            m.submodules[name] = tally = Tally(array.pes)
            m.d.comb += [
                tally.i.eq(Cat(getattr(pe, name) for pe in pes)),
                getattr(shell.steps, name).eq(tally.o),
            ]

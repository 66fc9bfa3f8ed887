"""The SpArch engine: shell, sequencer, control, readers, multipliers, merge tree, writer."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.rtl.readport import ReadPort
from celosia.rtl.registers import CAUSES, Cause, Field, Register, register_map, shape_registers
from celosia.rtl.shared import Shared
from celosia.rtl.shell import Shell, connect_memory, engine_ports
from celosia.rtl.sparch.control import RoundControl
from celosia.rtl.sparch.fetch import LineBuffer, LineFetch
from celosia.rtl.sparch.gate import LeafGate
from celosia.rtl.sparch.left import RecordReader
from celosia.rtl.sparch.multiply import Multipliers
from celosia.rtl.sparch.output import RootWriter
from celosia.rtl.sparch.partials import PartialFetcher
from celosia.rtl.sparch.reads import READERS, ReadArbiter
from celosia.rtl.sparch.sequencer import SparchSequencer
from celosia.rtl.sparch.tree import MergeTree

SPARCH_CAUSES = (
    *CAUSES,
    Cause.UNSORTED_KEYS,
    Cause.BEYOND_ROUND,
    Cause.BEYOND_CAPACITY,
    Cause.STALLED,
)


def sparch_registers(accelerator: SparchAccelerator, fingerprint: int) -> tuple[Register, ...]:
    """Return the register map of a SpArch engine; see :func:`register_map`."""
    elements = accelerator.elements
    shape = shape_registers(
        (
            Field(name="ways", low=0, width=8, doc="Leaves of the merge tree."),
            Field(name="width", low=8, width=8, doc="Elements merged a cycle."),
            Field(name="multipliers", low=16, width=8, doc="Products a cycle."),
        ),
        (
            Field(name="accumulator_bits", low=0, width=8, doc="Bits of a sum."),
            Field(name="value_bits", low=8, width=8, doc="Bits of a factor."),
            Field(name="index_bits", low=16, width=8, doc="Bits of a row or column."),
            Field(name="floating", low=24, width=1, doc="1: floats. 0: integers."),
        ),
        values={
            "ways": accelerator.tree.ways,
            "width": accelerator.merger.width,
            "multipliers": accelerator.right.multipliers,
            "accumulator_bits": elements.accumulator,
            "value_bits": elements.bits,
            "index_bits": elements.index_bits,
            "floating": int(elements.kind.floating),
        },
    )
    return register_map(
        shape,
        bus=accelerator.bus,
        fingerprint=fingerprint,
        counters=SparchCounter,
        causes=SPARCH_CAUSES,
    )


def step_widths(accelerator: SparchAccelerator) -> dict[str, int]:
    """Return the bits by which counters of several elements move in a cycle."""
    ways = accelerator.merger.width
    return {
        "products": accelerator.right.multipliers.bit_length(),
        "additions": (ways * accelerator.tree.layers).bit_length(),
        "merged": ways.bit_length(),
    }


class SparchEngine(Shared):
    """The SpArch engine: runs whole programs from memory, one start and one interrupt each.

    Parameters
    ----------
    accelerator : SparchAccelerator
    fingerprint : int
        Hash of it, 128 bits, for its registers.

    Members
    -------
    s_axi_ctrl, m_axi_gmem0 and up, interrupt
        As in :func:`~celosia.rtl.shell.engine_ports`.
    """

    def __init__(self, accelerator: SparchAccelerator, *, fingerprint: int) -> None:
        self._accelerator = accelerator
        self._registers = sparch_registers(accelerator, fingerprint)
        super().__init__(
            engine_ports(accelerator.bus),
            name="sparch_engine",
            parameters=(accelerator, fingerprint),
        )

    def build(self) -> Module:
        m = Module()
        accelerator, bus = self._accelerator, self._accelerator.bus
        m.submodules.shell = shell = Shell(
            self._registers,
            bus=bus,
            causes=SPARCH_CAUSES,
            counters=SparchCounter,
            widths=step_widths(accelerator),
        )
        reset = shell.reset_units
        m.submodules.sequencer = sequencer = SparchSequencer(accelerator).reset_by(reset)
        m.submodules.read_port = read_port = ReadPort(bus).reset_by(reset)
        m.submodules.reads = reads = ReadArbiter(bus).reset_by(reset)
        m.submodules.control = control = RoundControl(accelerator).reset_by(reset)
        m.submodules.writer = writer = RootWriter(accelerator).reset_by(reset)
        m.submodules.tree = tree = MergeTree(accelerator).reset_by(reset)
        m.submodules.gate = gate = LeafGate(accelerator).reset_by(reset)
        connect_memory(
            m, self, shell=shell, sequencer=sequencer, read_port=read_port, load=reads, store=writer
        )
        wiring.connect(m, sequencer.step, control.i)
        wiring.connect(m, control.refused, sequencer.refused)
        self._connect(m, control, tree, gate, writer)
        m.d.comb += shell.finished.eq(control.finished)
        fetch, misled = self._sources(m, reset, control, tree, gate, reads)
        for report, raised in (
            (shell.unsorted_keys, gate.unsorted),
            (shell.beyond_round, gate.beyond | misled),
            (shell.beyond_capacity, writer.beyond),
        ):
            m.d.comb += [report.raised.eq(raised), report.address.eq(control.address)]
        wiring.connect(m, control.stalled, shell.stalled)
        self._count(m, shell, control, tree, gate, reads, read_port, writer, fetch)
        return m

    @staticmethod
    def _connect(m: Module, control: Any, tree: Any, gate: Any, writer: Any) -> None:
        """Connect control, gate, tree and writer."""
        m.d.comb += [
            tree.start.eq(control.begin),
            tree.put.eq(gate.put),
            tree.put_leaf.eq(gate.put_leaf),
            tree.put_count.eq(gate.put_count),
            tree.put_word.eq(gate.put_word),
            tree.closed.eq(gate.closed),
            tree.take.eq(writer.take),
            gate.begin.eq(control.begin),
            gate.levels.eq(tree.levels),
            gate.fed.eq(control.round.leaves),
            gate.sources.eq(control.sources),
            gate.rows.eq(control.round.rows),
            gate.columns.eq(control.round.columns),
            writer.begin.eq(control.begin | control.stamp),
            writer.stamp.eq(control.stamp),
            writer.stamp_address.eq(control.stamp_address),
            writer.round.eq(control.round),
            writer.root.eq(tree.window),
            writer.shown.eq(tree.shown),
            writer.ended.eq(tree.ended),
            control.done.eq(writer.done),
            control.count.eq(writer.count),
        ]

    @staticmethod
    def _count(
        m: Module, shell: Any, control: Any, tree: Any, gate: Any, reads: Any, read_port: ReadPort,
        writer: Any, fetch: LineFetch,
    ) -> None:  # fmt: skip
        """Count, and see whether anything moves."""
        written = writer.axi.wvalid & writer.axi.wready
        records = fetch.i.valid & fetch.i.ready
        elements, pointers = writer.beat[0] & control.runs, writer.beat[1]
        m.d.comb += [
            control.moves.eq(
                tree.moves | gate.put | (writer.take != 0) | read_port.beat | written | records
            ),
            shell.steps.rounds.eq(control.begin),
            shell.steps.records.eq(records),
            shell.steps.products.eq(Mux(gate.products_put, gate.put_count, 0)),
            shell.steps.multiply_cycles.eq(gate.products_put),
            shell.steps.additions.eq(tree.additions),
            shell.steps.merged.eq(writer.take),
            shell.steps.read_beats.eq(read_port.beat),
            shell.steps.write_beats.eq(written),
            shell.steps.left_beats.eq(reads.left_beats.valid),
            shell.steps.right_beats.eq(reads.right_beats.valid),
            shell.steps.partial_read_beats.eq(reads.partial_beats.valid),
            shell.steps.partial_write_beats.eq(elements & ~control.round.final),
            shell.steps.output_beats.eq(elements & control.round.final),
            shell.steps.pointer_beats.eq(pointers),
        ]

    def _sources(
        self, m: Module, reset: Signal, control: Any, tree: Any, gate: Any, reads: Any
    ) -> tuple[LineFetch, Value]:
        """Add what feeds the leaves: work records and rows, multipliers, partial matrices.

        Returns what fetches rows, and whether a work record leads beyond the round.
        """
        accelerator = self._accelerator
        m.submodules.records = records = RecordReader(accelerator).reset_by(reset)
        m.submodules.fetch = fetch = LineFetch(accelerator).reset_by(reset)
        m.submodules.buffer = buffer = LineBuffer(accelerator)
        m.submodules.multipliers = multipliers = Multipliers(accelerator).reset_by(reset)
        m.submodules.partials = partials = PartialFetcher(accelerator).reset_by(reset)
        for name, reader in zip(READERS, (records, partials, fetch), strict=True):
            wiring.connect(m, reader.bursts, getattr(reads, name))
            wiring.connect(m, getattr(reads, f"{name}_beats"), reader.beats)
        wiring.connect(m, fetch.o, multipliers.i)
        wiring.connect(m, multipliers.o, gate.products)
        wiring.connect(m, partials.o, gate.partial)
        for name in ("write", "write_row", "write_data"):
            m.d.comb += getattr(buffer, name).eq(getattr(fetch, name))
        m.d.comb += [
            fetch.i.payload.eq(records.o[0]),
            fetch.i.valid.eq(records.shown),
            records.take.eq(fetch.i.valid & fetch.i.ready),
            records.begin.eq(control.begin),
            records.address.eq(control.round.left),
            records.records.eq(control.round.records),
            records.run_beats.eq(control.round.beats),
            fetch.right.eq(control.round.right),
            fetch.rows.eq(control.round.rows),
            buffer.read.eq(multipliers.read),
            buffer.read_row.eq(multipliers.read_row),
            multipliers.data.eq(buffer.data),
            partials.set.eq(control.set),
            partials.set_leaf.eq(control.set_leaf),
            partials.set_count.eq(control.set_count),
            partials.set_address.eq(control.set_address),
            partials.run.eq(control.runs & ~control.begin),
            partials.levels.eq(tree.levels),
            gate.finished.eq(
                control.runs
                & ~control.begin
                & records.finished
                & fetch.empty
                & ~multipliers.o.valid
            ),
            gate.drained.eq(partials.drained),
        ]
        return fetch, records.corrupt | fetch.corrupt

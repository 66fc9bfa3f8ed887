"""The SpArch engine: shell, sequencer, control, readers, multipliers, merge tree, writer."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
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
from celosia.rtl.sparch.left import LeafRows, RecordReader
from celosia.rtl.sparch.merge import total
from celosia.rtl.sparch.multiply import Multipliers
from celosia.rtl.sparch.output import RootWriter
from celosia.rtl.sparch.partials import PartialFetcher
from celosia.rtl.sparch.reads import READERS, ReadArbiter
from celosia.rtl.sparch.sequencer import SparchSequencer
from celosia.rtl.sparch.tree import MergeTree
from celosia.rtl.unit_reset import add_unit

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
            Field(name="multipliers", low=16, width=8, doc="Products a cycle, of all groups."),
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
            "multipliers": accelerator.products,
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
        "records": accelerator.right.groups.bit_length(),
        "products": accelerator.products.bit_length(),
        "multiply_cycles": accelerator.right.groups.bit_length(),
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
        sequencer = add_unit(m, "sequencer", SparchSequencer(accelerator), reset)
        read_port = add_unit(m, "read_port", ReadPort(bus), reset)
        reads = add_unit(m, "reads", ReadArbiter(bus), reset)
        control = add_unit(m, "control", RoundControl(accelerator), reset)
        writer = add_unit(m, "writer", RootWriter(accelerator), reset)
        tree = add_unit(m, "tree", MergeTree(accelerator), reset)
        gates = [
            add_unit(m, f"gate_{number}", LeafGate(accelerator), reset)
            for number in range(accelerator.right.groups)
        ]
        connect_memory(
            m, self, shell=shell, sequencer=sequencer, read_port=read_port, load=reads, store=writer
        )
        wiring.connect(m, sequencer.step, control.i)
        wiring.connect(m, control.refused, sequencer.refused)
        self._connect(m, control, tree, writer)
        self._gates(m, control, tree, gates)
        m.d.comb += shell.finished.eq(control.finished)
        fetch, misled = self._sources(m, reset, control, tree, gates, reads)
        for report, raised in (
            (shell.unsorted_keys, Cat(gate.unsorted for gate in gates).any()),
            (shell.beyond_round, Cat(gate.beyond for gate in gates).any() | misled),
            (shell.beyond_capacity, writer.beyond),
        ):
            m.d.comb += [report.raised.eq(raised), report.address.eq(control.address)]
        wiring.connect(m, control.stalled, shell.stalled)
        self._count(m, shell, control, tree, gates, reads, read_port, writer, fetch)
        return m

    @staticmethod
    def _connect(m: Module, control: Any, tree: Any, writer: Any) -> None:
        """Connect control, tree and writer."""
        m.d.comb += [
            tree.start.eq(control.begin),
            tree.take.eq(writer.take),
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

    def _gates(self, m: Module, control: Any, tree: Any, gates: list[Any]) -> None:
        """Connect the groups' gates with control and tree: leaf k is of group k mod groups."""
        leaves, groups = self._accelerator.tree.ways, len(gates)
        level_bits = self._accelerator.tree.leaf_fifo.bit_length()
        closed = [gates[leaf % groups].closed[leaf // groups] for leaf in range(leaves)]
        m.d.comb += [
            tree.put.eq(Cat(gate.put for gate in gates)),
            tree.put_leaf.eq(Cat(gate.put_leaf for gate in gates)),
            tree.put_count.eq(Cat(gate.put_count for gate in gates)),
            Value.cast(tree.put_word).eq(Cat(Value.cast(gate.put_word) for gate in gates)),
            tree.closed.eq(Cat(closed)),
        ]
        for number, gate in enumerate(gates):
            mine = range(number, leaves, groups)
            m.d.comb += [
                gate.begin.eq(control.begin),
                gate.levels.eq(Cat(tree.levels.word_select(leaf, level_bits) for leaf in mine)),
                gate.fed.eq(Cat(control.round.leaves[leaf] for leaf in mine)),
                gate.sources.eq(Cat(control.sources[leaf] for leaf in mine)),
                gate.rows.eq(control.round.rows),
                gate.columns.eq(control.round.columns),
            ]

    @staticmethod
    def _count(
        m: Module, shell: Any, control: Any, tree: Any, gates: list[Any], reads: Any,
        read_port: ReadPort, writer: Any, fetch: LineFetch,
    ) -> None:  # fmt: skip
        """Count, and see whether anything moves."""
        written = writer.axi.wvalid & writer.axi.wready
        puts = Cat(gate.put for gate in gates)
        elements, pointers = writer.beat[0] & control.runs, writer.beat[1]
        m.d.comb += [
            control.moves.eq(
                tree.moves
                | puts.any()
                | (writer.taken != 0)
                | read_port.beat
                | written
                | (fetch.take != 0)
            ),
            shell.steps.rounds.eq(control.begin),
            shell.steps.records.eq(fetch.take),
            shell.steps.products.eq(
                total([Mux(gate.products_put, gate.put_count, 0) for gate in gates])
            ),
            shell.steps.multiply_cycles.eq(total([gate.products_put for gate in gates])),
            shell.steps.additions.eq(tree.additions),
            shell.steps.merged.eq(writer.taken),
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
        self, m: Module, reset: Signal, control: Any, tree: Any, gates: list[Any], reads: Any
    ) -> tuple[LineFetch, Value]:
        """Add what feeds the leaves: work records and rows, multipliers, partial matrices.

        Returns what fetches rows, and whether a work record leads beyond the round.
        """
        accelerator = self._accelerator
        records = add_unit(m, "records", RecordReader(accelerator), reset)
        fetch = add_unit(m, "fetch", LineFetch(accelerator), reset)
        partials = add_unit(m, "partials", PartialFetcher(accelerator), reset)
        for name, reader in zip(READERS, (records, partials, fetch), strict=True):
            wiring.connect(m, reader.bursts, getattr(reads, name))
            wiring.connect(m, getattr(reads, f"{name}_beats"), reader.beats)
        rest = self._multipliers(m, reset, fetch, gates)
        m.d.comb += [
            records.begin.eq(control.begin),
            records.address.eq(control.round.left),
            records.records.eq(control.round.records),
            records.run_beats.eq(control.round.beats),
            records.can.eq(fetch.can),
            fetch.reads.eq(records.reads),
            fetch.i.eq(records.o),
            fetch.shown.eq(records.shown),
            fetch.right.eq(control.round.right),
            partials.set.eq(control.set),
            partials.set_leaf.eq(control.set_leaf),
            partials.set_count.eq(control.set_count),
            partials.set_address.eq(control.set_address),
            partials.run.eq(control.runs & ~control.begin),
            partials.levels.eq(tree.levels),
        ]
        finished = Signal()  # no record waits and no product is under way, since the cycle before
        rest &= Cat(gate.rests for gate in gates).all()
        m.d.sync += finished.eq(
            control.runs & ~control.begin & records.finished & fetch.empty & rest
        )
        to, groups = partials.o.payload.leaf, len(gates)
        for number, gate in enumerate(gates):
            mine = range(number, accelerator.tree.ways, groups)
            m.d.comb += [
                gate.partial.valid.eq(partials.o.valid & (to % groups == number)),
                gate.partial.payload.eq(partials.o.payload),
                gate.finished.eq(finished),
                gate.drains.eq(Cat(partials.drains[leaf] for leaf in mine)),
            ]
        return fetch, records.corrupt | fetch.corrupt

    def _multipliers(self, m: Module, reset: Signal, fetch: LineFetch, gates: list[Any]) -> Value:
        """Add the groups of multipliers between buffer and gates; return whether all rest."""
        accelerator = self._accelerator
        m.submodules.buffer = buffer = LineBuffer(accelerator)
        for name in ("write", "write_row", "write_data"):
            m.d.comb += getattr(buffer, name).eq(getattr(fetch, name))
        rests: list[Value] = []
        for number, gate in enumerate(gates):
            group = add_unit(m, f"multipliers_{number}", Multipliers(accelerator), reset)
            rows = add_unit(m, f"rows_{number}", LeafRows(accelerator), reset)
            wiring.connect(m, getattr(fetch, f"o_{number}"), rows.i)
            wiring.connect(m, rows.o, group.i)
            wiring.connect(m, group.o, gate.products)
            m.d.comb += [
                getattr(fetch, f"works_{number}").eq(group.works),
                getattr(fetch, f"number_{number}").eq(group.number),
                getattr(fetch, f"rests_{number}").eq(~group.works & ~rows.o.valid),
                getattr(buffer, f"read_{number}").eq(group.read),
                getattr(buffer, f"read_row_{number}").eq(group.read_row),
                group.data.eq(getattr(buffer, f"data_{number}")),
            ]
            rests.append(group.rests)
        return Cat(rests).all()

"""The dense engine: shell, sequencer, units, buffers and array."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Buffer, Unit
from celosia.dataflow.program import Counter
from celosia.rtl.array import SCALE_FLAGS, Array
from celosia.rtl.buffers import InputBuffer, OutputBuffer
from celosia.rtl.compute import Compute
from celosia.rtl.legality import Rules, layout_of
from celosia.rtl.load import Load
from celosia.rtl.post import Post
from celosia.rtl.readport import ReadPort
from celosia.rtl.registers import Field, Register, register_map, shape_registers
from celosia.rtl.sequencer import Sequencer
from celosia.rtl.shared import Shared
from celosia.rtl.shell import Shell, connect_memory, engine_ports
from celosia.rtl.store import Store
from celosia.rtl.tokens import Tokens, UnitQueue
from celosia.rtl.unit_reset import add_unit


def engine_registers(accelerator: Accelerator, fingerprint: int) -> tuple[Register, ...]:
    """Return the register map of a dense engine; see :func:`register_map`."""
    array = accelerator.array
    shape = shape_registers(
        (
            Field(name="lanes", low=0, width=16, doc="Lanes of a column."),
            Field(name="columns", low=16, width=16, doc="Columns."),
        ),
        (
            Field(name="accumulator_bits", low=0, width=8, doc="Bits of an accumulator."),
            Field(name="activation_bits", low=8, width=8, doc="Bits of an activation."),
            Field(name="pixels", low=16, width=16, doc="Pixel lanes."),
        ),
        values={
            "lanes": array.lanes,
            "columns": array.column_count,
            "accumulator_bits": array.accumulator_bits,
            "activation_bits": array.activation_bits,
            "pixels": array.pixels,
        },
    )
    return register_map(
        shape,
        bus=accelerator.bus,
        fingerprint=fingerprint,
        counters=Counter,
    )


class Engine(Shared):
    """The dense engine: runs whole programs from memory, one start and one interrupt each.

    The shell starts the sequencer, which hands descriptors to the queues of four units: load,
    compute, post and store. They run at once and wait for each other by tokens.

    Parameters
    ----------
    accelerator : Accelerator
    fingerprint : int
        Hash of it, 128 bits, for its registers.

    Members
    -------
    s_axi_ctrl : In(Axi4Lite(address_bits=12))
        The registers.
    m_axi_gmem0 and up : Out(Axi4(...))
        Memory: as many as ``bus.ports``.
    interrupt : Out(1)
        Enabled, and done or error. A level.
    """

    def __init__(self, accelerator: Accelerator, *, fingerprint: int) -> None:
        self._accelerator = accelerator
        self._registers = engine_registers(accelerator, fingerprint)
        super().__init__(
            engine_ports(accelerator.bus), name="engine", parameters=(accelerator, fingerprint)
        )

    @property
    def accelerator(self) -> Accelerator:
        return self._accelerator

    @property
    def registers(self) -> tuple[Register, ...]:
        """The register map."""
        return self._registers

    def build(self) -> Module:
        m = Module()
        accelerator, bus = self._accelerator, self._accelerator.bus
        m.submodules.shell = shell = Shell(self._registers, bus=bus)
        reset = shell.reset_units
        keeps, windows = accelerator.buffers.keeps, accelerator.array.depthwise
        sequencer = add_unit(m, "sequencer", Sequencer(Rules.of(accelerator)), reset)
        read_port = add_unit(m, "read_port", ReadPort(bus), reset)
        tokens = add_unit(m, "tokens", Tokens(keeps=keeps), reset)
        load = add_unit(m, "load", Load(accelerator), reset)
        compute = add_unit(m, "compute", Compute(accelerator), reset)
        post = add_unit(m, "post", Post(accelerator), reset)
        store = add_unit(m, "store", Store(accelerator), reset)
        units: dict[Unit, Shared] = {
            Unit.LOAD: load,
            Unit.COMPUTE: compute,
            Unit.POST: post,
            Unit.STORE: store,
        }
        for unit, component in units.items():
            name = unit.name.lower()
            tables = accelerator.tables is not None
            layout = layout_of(unit, sliding=windows is not None, tables=tables)
            queue = add_unit(m, f"{name}_queue", UnitQueue(layout), reset)
            wiring.connect(m, getattr(sequencer, name), queue.i)
            wiring.connect(m, queue.o, component.i)
            wiring.connect(m, queue.tokens, getattr(tokens, name))
            m.d.comb += getattr(tokens, f"{name}_signal").eq(component.signal)
        connect_memory(
            m, self, shell=shell, sequencer=sequencer, read_port=read_port, load=load, store=store
        )
        m.d.comb += shell.finished.eq(store.finished)
        self._buffers(m, load, compute, post, store)
        self._count(m, shell, read_port, load, compute, post, store)
        return m

    def _buffers(self, m: Module, load: Load, compute: Compute, post: Post, store: Store) -> None:
        """Connect buffers and array to the units that fill and read them."""
        accelerator = self._accelerator
        m.submodules.array = array = Array(accelerator)
        words = {}
        readers = {
            Buffer.ACTIVATIONS: compute.activations,
            Buffer.WEIGHTS: compute.weights,
            Buffer.CONSTANTS: post.constants,
            Buffer.RESIDUALS: post.residuals,
        }
        for target, read in readers.items():
            buffer = InputBuffer.of(accelerator, target)
            m.submodules[f"{target.name.lower()}_buffer"] = buffer
            wiring.connect(m, load.write, buffer.write)
            m.d.comb += buffer.read.eq(read)
            if target is Buffer.ACTIVATIONS and accelerator.buffers.keeps:
                wiring.connect(m, store.keep, buffer.keep)
            words[target] = buffer.words
        if accelerator.tables is not None:
            wiring.connect(m, load.write, post.tables)
        m.submodules.output_buffer = output = OutputBuffer(accelerator)
        wiring.connect(m, store.read, output.read)
        m.d.comb += [
            output.write.eq(post.write),
            *(
                mine.eq(theirs)
                for mine, theirs in zip(array.activations, words[Buffer.ACTIVATIONS], strict=True)
            ),
            array.activations_signed.eq(compute.activations_signed),
            *([] if accelerator.array.scalable is None else [array.passes.eq(compute.passes)]),
            *([] if accelerator.array.depthwise is None else [array.lines.eq(compute.lines)]),
            *(
                getattr(array, name).eq(getattr(compute, name))
                for name in SCALE_FLAGS
                if accelerator.array.activation_scale_bits
            ),
            array.weights.eq(words[Buffer.WEIGHTS][0]),
            array.control.eq(compute.control),
            array.drain_enable.eq(post.drain_enable),
            array.drain_group.eq(post.drain_group),
            array.drain.eq(post.drain),
            post.drained.eq(array.drained),
            post.constant_word.eq(words[Buffer.CONSTANTS][0]),
            post.residual_word.eq(words[Buffer.RESIDUALS][0]),
        ]

    def _count(
        self,
        m: Module,
        shell: Shell,
        read_port: ReadPort,
        load: Load,
        compute: Compute,
        post: Post,
        store: Store,
    ) -> None:
        """Connect the counters to what they count."""
        for events in (compute.events, post.events):
            for name in events.shape().members:
                m.d.comb += getattr(shell.steps, name).eq(events[name])
        m.d.comb += [
            shell.steps.output_reads.eq(store.read.enable),
            shell.steps.read_beats.eq(read_port.beat),
            shell.steps.write_beats.eq(store.beat),
            shell.steps.load_busy.eq(load.busy),
            shell.steps.store_busy.eq(store.busy),
        ]

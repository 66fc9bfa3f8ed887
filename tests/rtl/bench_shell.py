"""Everything of the engine but buffers, compute and post, with a memory behind it."""

from __future__ import annotations

from dataclasses import dataclass, field

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import (
    CHUNK_DESCRIPTORS,
    DESCRIPTOR_BYTES,
    Descriptor,
    Token,
    Unit,
)
from celosia.rtl.descriptors import encode
from celosia.rtl.engine import engine_registers
from celosia.rtl.legality import LAYOUT_OF, Rules
from celosia.rtl.load import Load as LoadUnit
from celosia.rtl.readport import ReadPort
from celosia.rtl.registers import Cause
from celosia.rtl.sequencer import Sequencer
from celosia.rtl.shell import Shell
from celosia.rtl.store import Store as StoreUnit
from celosia.rtl.tokens import Tokens, UnitQueue
from celosia.rtl.unit_reset import UnitReset

from .axi_memory import AxiMemory, lite_read, lite_write
from .drivers import Log, simulate, watch
from .test_store import output_buffer

PROGRAM = 0x1000
FINGERPRINT = 0x0123456789ABCDEF_FEDCBA9876543210

CHECKED = ("illegal_descriptor", "read_response", "write_response", "read_outside_window",
           "write_outside_window")  # fmt: skip


class Bench(wiring.Component):
    """Shell and units; compute and post accept at once and signal two cycles later."""

    def __init__(self, config: Accelerator) -> None:
        registers = engine_registers(config, FINGERPRINT)
        self.shell = Shell(registers, bus=config.bus)
        self.port = ReadPort(config.bus)
        self.sequencer = Sequencer(Rules(bus=config.bus))
        self.load = LoadUnit(config)
        self.store = StoreUnit(config)
        self.tokens = Tokens(keeps=True)
        self.queues = {unit: UnitQueue(LAYOUT_OF[unit]) for unit in Unit}
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.shell = shell = self.shell
        m.submodules.units_reset = units_reset = UnitReset()
        m.submodules.units = ResetInserter(units_reset.reset)(self.units())
        errors = {
            "illegal_descriptor": self.sequencer.error,
            "read_response": self.port.response_error,
            "write_response": self.store.response_error,
            "read_outside_window": self.port.window_error,
            "write_outside_window": self.store.window_error,
        }
        for name, report in errors.items():
            wiring.connect(m, report, getattr(shell, name))
        m.d.comb += [
            units_reset.i.eq(shell.reset_units),
            shell.finished.eq(self.store.finished),
            shell.quiet.eq(self.port.idle & self.store.idle),
            self.sequencer.start.eq(shell.start),
            self.sequencer.address.eq(shell.address),
            self.sequencer.chunks.eq(shell.chunks),
            self.store.cycle.eq(shell.cycle),
            shell.steps.read_beats.eq(self.port.beat),
            shell.steps.write_beats.eq(self.store.beat),
            shell.steps.output_reads.eq(self.store.read.enable),
            shell.steps.load_busy.eq(self.load.busy),
            shell.steps.store_busy.eq(self.store.busy),
        ]
        for part in (self.port, self.store):
            m.d.comb += [
                part.stop.eq(shell.stop),
                part.window.base.eq(shell.window.base),
                part.window.limit.eq(shell.window.limit),
            ]
        m.d.comb += self.sequencer.stop.eq(shell.stop)
        return m

    def units(self) -> Module:
        """Return all that is reset with the units."""
        m = Module()
        m.submodules += [self.port, self.sequencer, self.load, self.store, self.tokens]
        wiring.connect(m, self.sequencer.o, self.port.program)
        wiring.connect(m, self.load.o, self.port.load)
        wiring.connect(m, self.port.program_beats, self.sequencer.beats)
        wiring.connect(m, self.port.load_beats, self.load.beats)
        for unit, queue in self.queues.items():
            name = unit.name.lower()
            m.submodules[f"{name}_queue"] = queue
            wiring.connect(m, getattr(self.sequencer, name), queue.i)
            wiring.connect(m, queue.tokens, getattr(self.tokens, name))
            signal = getattr(self.tokens, f"{name}_signal")
            if unit in (Unit.LOAD, Unit.STORE):
                part = getattr(self, name)
                wiring.connect(m, queue.o, part.i)
                m.d.comb += signal.eq(part.signal)
            else:
                mask = Signal(len(Token), name=f"{name}_mask")
                m.d.comb += queue.o.ready.eq(1)
                m.d.sync += [mask.eq(0), signal.eq(mask)]
                with m.If(queue.o.valid):
                    m.d.sync += mask.eq(queue.o.p.signal)
        return m


def program_bytes(descriptors: list[Descriptor | int]) -> bytes:
    """Encode; integers are raw descriptors. The last chunk is filled with zeros."""
    words = [item if isinstance(item, int) else encode(item) for item in descriptors]
    words += [0] * (-len(words) % CHUNK_DESCRIPTORS)
    return b"".join(word.to_bytes(DESCRIPTOR_BYTES, "little") for word in words)


@dataclass
class Driver:
    """Software: registers by name over AXI4-Lite."""

    ctx: object
    bench: Bench
    offsets: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.offsets = {register.name: register.offset for register in self.bench.shell.registers}

    async def write(self, name: str, value: int, **options) -> None:
        axi = self.bench.shell.control
        assert await lite_write(self.ctx, axi, self.offsets[name], value, **options) == 0

    async def read(self, name: str) -> int:
        return await lite_read(self.ctx, self.bench.shell.control, self.offsets[name])

    async def read_pair(self, name: str) -> int:
        return await self.read(f"{name}_low") | await self.read(f"{name}_high") << 32

    async def setup(self, chunks: int, *, base=0, limit=1 << 32) -> None:
        """Write program, window and interrupt enable."""
        await self.write("program_low", PROGRAM)
        await self.write("program_chunks", chunks)
        await self.write("window_base_low", base)
        await self.write("window_limit_low", limit & 0xFFFFFFFF)
        await self.write("window_limit_high", limit >> 32)
        await self.write("interrupt_enable", 1)

    async def start(self) -> None:
        await self.write("control", 1)

    async def clear(self) -> None:
        await self.write("control", 2)

    async def interrupt(self) -> None:
        """Wait for the interrupt."""
        while not self.ctx.get(self.bench.shell.interrupt):
            await self.ctx.tick()

    async def status(self) -> str:
        """Return the name of the one bit of the status that is 1."""
        value = await self.read("status")
        return {1: "idle", 2: "done", 4: "error", 8: "busy"}[value]

    async def cause(self) -> Cause:
        return Cause(await self.read("cause"))


def run_bench(config: Accelerator, memory: AxiMemory, software, logs=None, limit=20_000) -> Bench:
    """Run ``software(driver)``; ``logs`` maps names to (Log, signals, condition) makers."""
    bench = Bench(config)
    watched = [] if logs is None else logs(bench)

    async def main(ctx) -> None:
        await software(Driver(ctx, bench))

    simulate(
        bench,
        main,
        background=(
            lambda ctx: memory.serve_reads(ctx, bench.port.axi),
            lambda ctx: memory.serve_writes(ctx, bench.store.axi),
            lambda ctx: output_buffer(ctx, bench.store.read, config),
            *(_watcher(*entry) for entry in watched),
        ),
        limit=limit,
    )
    return bench


def _watcher(log: Log, signals, when):
    async def run(ctx) -> None:
        await watch(ctx, signals, log, when=when)

    return run

"""The compute unit: runs loop nests on the array, one step a cycle."""

from __future__ import annotations

import itertools
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import Circuit, Depthwise
from celosia.dataflow.descriptors import COMPUTE_LOOPS, Unit
from celosia.dataflow.microarchitecture import BUFFER_LATENCY, column_stages, compute_latency
from celosia.rtl.affine import AffineNest
from celosia.rtl.array import SCALE_FLAGS
from celosia.rtl.buffers import read_layout
from celosia.rtl.column import Base, control_layout
from celosia.rtl.depthwise import SLIDING_LOOPS, SlidingControl, lines_layout
from celosia.rtl.descriptors import SLIDING, ComputeLayout, SlidingComputeLayout
from celosia.rtl.ports import TOKEN_BITS, UNIT_PORTS, giver_mask
from celosia.rtl.scalable import SCALABLE
from celosia.rtl.shared import Shared

OPERANDS = ("activations", "weights", "accumulators")
"""The addresses of a compute nest, in the order of the nest's."""

ComputeEvents = data.StructLayout(
    {
        "compute_steps": 1,
        "activation_reads": 1,
        "weight_reads": 1,
        "accumulator_reads": 1,
        "accumulator_writes": 1,
    }
)
"""What the counters of the same names count; each at most once a cycle."""


class AccumulatorControl(Shared):
    """Decides, once for all columns, what each step does with its accumulator.

    Consecutive steps of one nest with equal addresses are a *run*: it reads its accumulator at
    most once and writes it once. What was not yet written is forwarded, so that steps may follow
    in any order, one a cycle: from the result register where the step before had the same
    address, from the write register where the address is being written while it should be read.

    Parameters
    ----------
    address_bits : int
        Bits of an accumulator address.
    delay : int
        Cycles from a step's addresses to its accumulation, at least 3.

    Members
    -------
    step, start, address, changed, fresh : In
        The nest's step, in the cycle of its addresses: there is one, it is its nest's first, its
        accumulator, whether that differs from the step before, and whether it starts afresh.
    control : Out(control_layout(address_bits))
        ``control.step`` comes ``delay`` cycles later.
    reads, writes : Out(1)
        A run began that does not start afresh; a run ended. Some cycles later.
    """

    def __init__(self, *, address_bits: int, delay: int) -> None:
        if delay < 3:
            raise ValueError(f"delay must be at least 3, not {delay!r}")
        self._address_bits, self._delay = address_bits, delay
        super().__init__(
            {
                "step": In(1),
                "address": In(address_bits),
                "changed": In(1),
                "fresh": In(1),
                "control": Out(control_layout(address_bits)),
                "reads": Out(1),
                "writes": Out(1),
            },
            name=f"accumulator_control_a{address_bits}_d{delay}",
            parameters=(address_bits, delay),
        )

    @property
    def address_bits(self) -> int:
        return self._address_bits

    @property
    def delay(self) -> int:
        return self._delay

    def build(self) -> Module:
        m = Module()
        address_bits = self._address_bits
        layout = data.StructLayout(
            {"step": 1, "address": address_bits, "changed": 1, "fresh": 1, "last": 1}
        )
        # stages[n] shows a step n cycles after its addresses.
        stages: list[Any] = [Signal(layout, name=f"stage_{n}") for n in range(self._delay + 2)]
        now = stages[0]
        m.d.comb += [
            now.step.eq(self.step),
            now.address.eq(self.address),
            now.changed.eq(self.changed),
            now.fresh.eq(self.fresh),
        ]
        for before, after in itertools.pairwise(stages):
            m.d.sync += after.eq(before)
        # The run of the step in stage 1 goes on if the step behind it has the same address.
        m.d.sync += stages[2].last.eq(~(now.step & ~now.changed))
        decide, reading, adding, writing = stages[-4:]
        previous = Signal(address_bits, reset_less=True)
        known = Signal()
        with m.If(decide.step):
            m.d.sync += [previous.eq(decide.address), known.eq(1)]
        held, bypass = Signal(), Signal()
        base = Signal(Base)
        m.d.comb += [
            held.eq(known & (previous == decide.address)),
            bypass.eq(adding.step & adding.last & (adding.address == decide.address)),
        ]
        with m.If(decide.fresh):
            m.d.comb += base.eq(Base.ZERO)
        with m.Elif(held):
            m.d.comb += base.eq(Base.SUM)
        with m.Elif(bypass):
            m.d.comb += base.eq(Base.WRITTEN)
        with m.Else():
            m.d.comb += base.eq(Base.MEMORY)
        next_base = Signal(Base, reset_less=True)
        m.d.sync += [
            next_base.eq(base),
            self.control.base.eq(next_base),
            self.control.read.eq(decide.step & (base == Base.MEMORY)),
            self.reads.eq(decide.step & decide.changed & ~decide.fresh),
        ]
        m.d.comb += [
            self.control.read_address.eq(reading.address),
            self.control.step.eq(adding.step),
            self.control.write.eq(writing.step & writing.last),
            self.control.write_address.eq(writing.address),
            self.writes.eq(self.control.write),
        ]
        return m


class Compute(Shared):
    """The compute unit: addresses for the buffers, control for the array, tokens.

    A descriptor accepted at t has its steps at t+1 to t+N, and the next one can be accepted at
    t+N. ``signal`` holds the descriptor's mask at t + N + ``compute_latency(accelerator)``, when
    its accumulators are written.

    Parameters
    ----------
    accelerator : Accelerator

    Members
    -------
    i : In(stream.Signature(ComputeLayout))
        Descriptors whose tokens are there; with windows of :data:`SlidingComputeLayout`.
    signal, busy : Out
        As in :data:`~celosia.rtl.ports.UNIT_PORTS`.
    activations, weights : Out(read_layout())
        Reads of the two buffers; the word is there one cycle later and stays.
    activations_signed, scaled, rounded : Out(1)
        How the activation word that is there in this cycle is to be read; see :class:`Array`.
    control : Out(control_layout(...))
        Accumulator control of the columns, given the words as the buffers deliver them.
    passes : Out(...)
        Of precision-scalable columns: the pass that takes the words that are there in this cycle.
    lines : Out(lines_layout(depthwise))
        Of columns with windows of their own.
    events : Out(ComputeEvents)
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._latency = compute_latency(accelerator)
        self._scaled = accelerator.array.activation_scale_bits > 0
        self._delay = BUFFER_LATENCY + column_stages(accelerator.array)
        self._address_bits = max(1, (accelerator.buffers.accumulators - 1).bit_length())
        self._circuit = accelerator.array.scalable
        self._keeps = accelerator.buffers.keeps
        self._windows = accelerator.array.depthwise
        layout = ComputeLayout if self._windows is None else SlidingComputeLayout
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                **UNIT_PORTS,
                "activations": Out(read_layout()),
                "weights": Out(read_layout()),
                "activations_signed": Out(1),
                **(dict.fromkeys(SCALE_FLAGS, Out(1)) if self._scaled else {}),
                "control": Out(control_layout(self._address_bits)),
                "events": Out(ComputeEvents),
            }
            | ({} if self._circuit is None else {"passes": Out(SCALABLE[self._circuit].LAYOUT)})
            | ({} if self._windows is None else {"lines": Out(lines_layout(self._windows))}),
            name="compute",
            parameters=(
                self._latency,
                self._delay,
                self._address_bits,
                self._circuit,
                self._scaled,
                self._keeps,
                self._windows,
            ),
        )

    @property
    def latency(self) -> int:
        """Cycles from a descriptor's last step to its signal."""
        return self._latency

    def build(self) -> Module:
        m = Module()
        m.submodules.nest = nest = AffineNest(
            loops=COMPUTE_LOOPS,
            operands=len(OPERANDS),
            shown=0 if self._windows is None else SLIDING_LOOPS,
        )
        m.submodules.accumulators = accumulators = AccumulatorControl(
            address_bits=self._address_bits, delay=self._delay
        )
        descriptor, loops = self.i.payload, nest.i.payload
        m.d.comb += [
            nest.i.valid.eq(self.i.valid),
            self.i.ready.eq(nest.i.ready),
            loops.watched.eq(descriptor.reduction),
        ]
        for index in range(COMPUTE_LOOPS):
            m.d.comb += loops.counts[index].eq(descriptor.loops[index].count)
            for operand, name in enumerate(OPERANDS):
                m.d.comb += loops.deltas[index][operand].eq(descriptor.loops[index][name])
        for operand, name in enumerate(OPERANDS):
            m.d.comb += loops.addresses[operand].eq(descriptor[name])

        mask = Signal(TOKEN_BITS)
        accumulate, is_signed = Signal(), Signal()
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                mask.eq(descriptor.signal & giver_mask(Unit.COMPUTE, keeps=self._keeps)),
                accumulate.eq(descriptor.accumulate),
                is_signed.eq(descriptor.activations_signed),
            ]
        m.d.sync += self.activations_signed.eq(is_signed)
        if self._scaled:
            for name in SCALE_FLAGS:
                flag = Signal(name=f"is_{name}")
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += flag.eq(descriptor[name])
                m.d.sync += getattr(self, name).eq(flag)
        m.d.comb += [
            self.activations.enable.eq(nest.step & nest.changed[0]),
            self.activations.address.eq(nest.addresses[0]),
            self.weights.enable.eq(nest.step & nest.changed[1]),
            self.weights.address.eq(nest.addresses[1]),
            accumulators.fresh.eq(nest.zero & ~accumulate),
            self.control.eq(accumulators.control),
            self.events.compute_steps.eq(nest.step),
            self.events.activation_reads.eq(self.activations.enable),
            self.events.weight_reads.eq(self.weights.enable),
            self.events.accumulator_reads.eq(accumulators.reads),
            self.events.accumulator_writes.eq(accumulators.writes),
        ]
        if self._windows is None:
            m.d.comb += [
                accumulators.step.eq(nest.step),
                accumulators.address.eq(nest.addresses[2][: self._address_bits]),
                accumulators.changed.eq(nest.changed[2]),
            ]
        else:
            self._slide(m, self._windows, nest, accumulators)
        self._finish(m, nest.step, nest.last, mask)
        if self._circuit is not None:
            self._passes(m, self._circuit, nest.step)
        return m

    def _passes(self, m: Module, circuit: Circuit, step: Signal) -> None:
        """Run through the passes of each word, one a step."""
        m.submodules.passes = passes = SCALABLE[circuit].sequencer()
        descriptor = self.i.payload
        m.d.comb += [
            # What is taken where there is no descriptor has no steps.
            passes.load.eq(self.i.ready),
            passes.advance.eq(step),
            passes.precision.weight_bits.eq(descriptor.weight_bits),
            passes.precision.activation_bits.eq(descriptor.activation_bits),
            passes.precision.weights_signed.eq(descriptor.weights_signed),
            passes.precision.activations_signed.eq(descriptor.activations_signed),
        ]
        m.d.sync += self.passes.eq(passes.control)

    def _slide(
        self, m: Module, windows: Depthwise, nest: AffineNest, accumulators: AccumulatorControl
    ) -> None:
        """Let only steps add whose windows are whole, and count the sums of those that slide."""
        m.submodules.sliding = sliding = SlidingControl(windows)
        m.d.comb += [
            sliding.load.eq(self.i.valid & self.i.ready),
            *(sliding.sliding[name].eq(self.i.payload[name]) for name in SLIDING),
            sliding.step.eq(nest.step),
            sliding.ended.eq(nest.ended),
            self.lines.eq(sliding.lines),
            accumulators.step.eq(nest.step & sliding.adds),
            accumulators.address.eq((nest.addresses[2] + sliding.offset)[: self._address_bits]),
            accumulators.changed.eq(nest.changed[2] | sliding.slides),
        ]

    def _finish(self, m: Module, step: Signal, last: Signal, mask: Signal) -> None:
        """Delay the mask of each nest's last step to the cycle of its signal."""
        m.submodules.finish = finish = Finish(latency=self._latency)
        m.d.comb += [
            finish.step.eq(step),
            finish.last.eq(last),
            finish.mask.eq(mask),
            self.signal.eq(finish.signal),
            self.busy.eq(finish.busy),
        ]


class Finish(Shared):
    """Delays a nest's token mask from its last step to the cycle of its signal.

    Parameters
    ----------
    latency : int
        Cycles between the two, at least 1.

    Members
    -------
    step, last : In(1)
        There is a step in this cycle; it is its descriptor's last.
    mask : In(TOKEN_BITS)
        The descriptor's mask.
    signal, busy : Out
        As in :data:`~celosia.rtl.ports.UNIT_PORTS`.
    """

    def __init__(self, *, latency: int) -> None:
        if latency < 1:
            raise ValueError(f"latency must be at least 1, not {latency!r}")
        self._latency = latency
        super().__init__(
            {"step": In(1), "last": In(1), "mask": In(TOKEN_BITS), **UNIT_PORTS},
            name=f"finish_{latency}",
            parameters=(latency,),
        )

    @property
    def latency(self) -> int:
        return self._latency

    def build(self) -> Module:
        m = Module()
        masks = [
            Mux(self.last, self.mask, 0),
            *(Signal(TOKEN_BITS, name=f"mask_{n}") for n in range(1, self._latency + 1)),
        ]
        for before, after in itertools.pairwise(masks):
            m.d.sync += after.eq(before)
        flight = Signal(self._latency)
        m.d.sync += flight.eq(Cat(self.last, flight))
        m.d.comb += [self.signal.eq(masks[-1]), self.busy.eq(self.step | flight.any())]
        return m

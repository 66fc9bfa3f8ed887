"""The post unit: drains accumulators, requantises, adds residuals, pools, writes outputs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.microarchitecture import (
    DRAIN_LATENCY,
    POOL_LATENCY,
    POST_LATENCY,
    REQUANT_LATENCY,
)
from celosia.rtl.affine import WORD_BITS
from celosia.rtl.buffers import output_write_layout, read_layout
from celosia.rtl.column import drain_layout
from celosia.rtl.compute import Finish
from celosia.rtl.descriptors import PostLayout
from celosia.rtl.ports import TOKEN_BITS, UNIT_PORTS
from celosia.rtl.post_nest import PostNest
from celosia.rtl.requant import Requant, code_bits
from celosia.rtl.shared import Shared

ROUND_STAGE = DRAIN_LATENCY + 4
"""Cycles from a step to its rounding."""

CLAMP_STAGE = DRAIN_LATENCY + 5
"""Cycles from a step to its clamping."""

POOL_STAGE = DRAIN_LATENCY + REQUANT_LATENCY
"""Cycles from a step to its code."""

WRITE_STAGE = POOL_STAGE + POOL_LATENCY
"""Cycles from a window's last step to its write."""

PostEvents = data.StructLayout(
    {
        "post_steps": 1,
        "accumulator_drains": 1,
        "constant_reads": 1,
        "residual_reads": 1,
        "output_writes": 1,
    }
)
"""What the counters of the same names count; each at most once a cycle."""


class Delays:
    """Named delay lines: ``delays(value, n)`` is ``value`` ``n`` cycles ago, registers shared."""

    def __init__(self, m: Module) -> None:
        self._m = m
        self._lines: dict[str, list[Value]] = {}

    def __call__(self, name: str, value: Value, cycles: int) -> Any:
        line = self._lines.setdefault(name, [value])
        while len(line) <= cycles:
            stage = Signal(line[0].shape(), name=f"{name}_{len(line)}")
            self._m.d.sync += stage.eq(line[-1])
            line.append(stage)
        return line[cycles]


class Post(Shared):
    """The post unit: ``post_lanes`` accumulators a cycle to codes in the output buffer.

    A descriptor accepted at t has its steps at t+1 to t+N, and the next one can be accepted at
    t+N. ``signal`` holds the descriptor's mask at t + N + ``POST_LATENCY``, in the
    cycle of its last write.

    Parameters
    ----------
    accelerator : Accelerator

    Members
    -------
    i : In(stream.Signature(PostLayout))
        Descriptors whose tokens are there.
    signal, busy : Out
        As in :data:`~celosia.rtl.ports.UNIT_PORTS`.
    drain_enable, drain_group, drain : Out
        To the array.
    drained : In(post_lanes * accumulator_bits)
        From the array, 3 cycles later.
    constants, residuals : Out(read_layout())
        Reads of the two buffers.
    constant_word, residual_word : In(...)
        What they deliver, one cycle later.
    write : Out(output_write_layout(accelerator))
    events : Out(PostEvents)
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        array = accelerator.array
        self._code_bits = code_bits(array.activation_bits)
        address_bits = max(1, (accelerator.buffers.accumulators - 1).bit_length())
        groups = array.column_count // accelerator.post_lanes
        super().__init__(
            {
                "i": In(stream.Signature(PostLayout)),
                **UNIT_PORTS,
                "drain_enable": Out(1),
                "drain_group": Out(range(max(groups, 2))),
                "drain": Out(drain_layout(address_bits, array.pixels)),
                "drained": In(accelerator.post_lanes * array.accumulator_bits),
                "constants": Out(read_layout()),
                "constant_word": In(accelerator.constant_word_bits),
                "residuals": Out(read_layout()),
                "residual_word": In(accelerator.activation_word_bits),
                "write": Out(output_write_layout(accelerator)),
                "events": Out(PostEvents),
            },
            name="post",
            parameters=(array, accelerator.buffers.accumulators, accelerator.post_lanes),
        )

    @property
    def accelerator(self) -> Accelerator:
        return self._accelerator

    def build(self) -> Module:
        m = Module()
        lane_groups = self._accelerator.array.lanes // self._accelerator.post_lanes
        m.submodules.nest = nest = PostNest(lane_groups=lane_groups)
        m.submodules.finish = finish = Finish(latency=POST_LATENCY)
        mask = Signal(TOKEN_BITS)
        options: Any = Signal(
            data.StructLayout(
                {"low": signed(self._code_bits), "high": signed(self._code_bits)}
                | dict.fromkeys(("rounding", "residual", "residual_signed"), 1)
                | {"offset": WORD_BITS}
            )
        )
        payload = self.i.payload
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                mask.eq(payload.signal),
                options.offset.eq(payload.residuals - payload.outputs),
                *(
                    options[name].eq(payload[name])
                    for name in ("low", "high", "rounding", "residual", "residual_signed")
                ),
            ]
        m.d.comb += [
            nest.i.valid.eq(self.i.valid),
            nest.i.payload.eq(payload),
            self.i.ready.eq(nest.i.ready),
            finish.step.eq(nest.step),
            finish.last.eq(nest.last),
            finish.mask.eq(mask),
            self.signal.eq(finish.signal),
            self.busy.eq(finish.busy),
        ]
        delays = Delays(m)
        self._read(m, delays, nest, options)
        codes = self._requantise(m, delays, nest, options)
        self._pool(m, delays, nest, codes)
        return m

    def _read(self, m: Module, delays: Delays, nest: PostNest, options: Any) -> None:
        """Drain at once; read constants and residuals a cycle later, to arrive together."""
        step = nest.o
        residual = nest.step & step.output & options.residual
        m.d.comb += [
            self.drain_enable.eq(nest.step & step.drain),
            self.drain_group.eq(step.group),
            self.drain.address.eq(step.accumulator),
            self.drain.pixel.eq(step.pixel),
            self.constants.enable.eq(delays("constant", nest.step & step.constant, 1)),
            self.constants.address.eq(delays("constant_address", step.constant_address, 1)),
            self.residuals.enable.eq(delays("residual_read", residual, 1)),
            self.residuals.address.eq(
                delays("residual_address", (step.output_address + options.offset)[:WORD_BITS], 1)
            ),
            self.events.post_steps.eq(nest.step),
            self.events.accumulator_drains.eq(self.drain_enable),
            self.events.constant_reads.eq(self.constants.enable),
            self.events.residual_reads.eq(self.residuals.enable),
        ]

    def _residuals(self, m: Module, delays: Delays, nest: PostNest, options: Any) -> list[Signal]:
        """Return the residual codes of the step's lane group, 0 where there is none."""
        array, lanes = self._accelerator.array, self._accelerator.post_lanes
        width = lanes * array.activation_bits
        groups = [
            self.residual_word[n : n + width] for n in range(0, len(self.residual_word), width)
        ]
        group = Signal(width)
        lane_group = delays("lane_group", nest.o.lane_group, 2)
        m.d.comb += group.eq(Choice(groups)[lane_group] if len(groups) > 1 else groups[0])
        enabled = delays("residual", options.residual, 2)
        is_signed = delays("residual_signed", options.residual_signed, 2)
        codes = []
        for lane in range(lanes):
            stored = group.word_select(lane, array.activation_bits)
            code = Signal(signed(self._code_bits), name=f"residual_{lane}", reset_less=True)
            extended = Cat(stored, stored[-1] & is_signed).as_signed()
            m.d.sync += code.eq(Mux(enabled, extended, 0))
            codes.append(code)
        return codes

    def _requantise(self, m: Module, delays: Delays, nest: PostNest, options: Any) -> list[Signal]:
        """Return the code of each lane."""
        lanes, bits = self._accelerator.post_lanes, self._accelerator.array.accumulator_bits
        constants = Signal(len(self.constant_word), reset_less=True)
        m.d.sync += constants.eq(self.constant_word)
        residuals = self._residuals(m, delays, nest, options)
        codes = []
        for lane in range(lanes):
            requant = Requant(accumulator_bits=bits, code_bits=self._code_bits)
            m.submodules[f"lane_{lane}"] = requant
            m.d.comb += [
                requant.accumulator.eq(self.drained.word_select(lane, bits)),
                requant.constants.eq(constants.word_select(lane, self._accelerator.constant_bits)),
                requant.residual.eq(residuals[lane]),
                requant.rounding.eq(delays("rounding", options.rounding, ROUND_STAGE)),
                requant.low.eq(delays("low", options.low, CLAMP_STAGE)),
                requant.high.eq(delays("high", options.high, CLAMP_STAGE)),
            ]
            codes.append(requant.code)
        return codes

    def _pool(self, m: Module, delays: Delays, nest: PostNest, codes: list[Signal]) -> None:
        """Keep the maximum over each window and write it with the window's last step."""
        step = nest.o
        first = delays("first", step.first, POOL_STAGE)
        bits = self._accelerator.array.activation_bits
        pooled = []
        for lane, code in enumerate(codes):
            best = Signal(signed(self._code_bits), name=f"best_{lane}", reset_less=True)
            with m.If(first | (code > best)):
                m.d.sync += best.eq(code)
            pooled.append(best[:bits])
        m.d.comb += [
            self.write.enable.eq(delays("write", nest.step & step.last, WRITE_STAGE)),
            self.write.address.eq(delays("output_address", step.output_address, WRITE_STAGE)),
            self.write.group.eq(delays("lane_group", step.lane_group, WRITE_STAGE)),
            self.write.codes.eq(Cat(*pooled)),
            self.events.output_writes.eq(self.write.enable),
        ]

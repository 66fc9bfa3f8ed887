"""The post unit: drains accumulators, requantises, adds residuals, pools, writes outputs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Buffer, Unit
from celosia.dataflow.microarchitecture import (
    DRAIN_LATENCY,
    POOL_LATENCY,
    REQUANT_LATENCY,
    TABLE_LATENCY,
    QuantiserStages,
    post_latency,
)
from celosia.models.formats import BlockScaling, Esb
from celosia.rtl.affine import WORD_BITS
from celosia.rtl.buffers import output_write_layout, read_layout
from celosia.rtl.column import drain_layout
from celosia.rtl.compute import Finish
from celosia.rtl.descriptors import PostLayout
from celosia.rtl.legality import layout_of
from celosia.rtl.lookup import Lookup
from celosia.rtl.pe.esb import esb_element
from celosia.rtl.pe.scale import decode_scale
from celosia.rtl.ports import TOKEN_BITS, UNIT_PORTS, BufferWrite, giver_mask
from celosia.rtl.post_nest import PostNest
from celosia.rtl.quantise import VectorQuantiser
from celosia.rtl.requant import Requant
from celosia.rtl.shared import Shared

ROUND_STAGE = DRAIN_LATENCY + REQUANT_LATENCY - 2
"""Cycles from a step to its rounding."""

CLAMP_STAGE = DRAIN_LATENCY + REQUANT_LATENCY - 1
"""Cycles from a step to its clamping."""

POOL_STAGE = DRAIN_LATENCY + REQUANT_LATENCY
"""Cycles from a step to its code."""

VECTOR_STAGE = POOL_STAGE + POOL_LATENCY
"""Cycles from a window's last step to its maximum: the write, or what vectors are made of."""

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

    A descriptor accepted at t has its steps at t+2 to t+1+N, and the next one can be accepted at
    t+N. ``signal`` holds the descriptor's mask at t + N + ``post_latency(accelerator)``, in the
    cycle of its last write. Where there are tables codes are looked up before maxima are taken.

    Parameters
    ----------
    accelerator : Accelerator

    Members
    -------
    i : In(stream.Signature(layout_of(Unit.POST, ...)))
        Descriptors whose tokens are there.
    tables : In(BufferWrite.of(accelerator))
        What loads fill tables with; only where there are some.
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
        self._scaling = array.scaling if array.activation_scale_bits else None
        self._bits = accelerator.requant_bits
        self._tables = accelerator.tables
        self._codes_stage = POOL_STAGE + (0 if self._tables is None else TABLE_LATENCY)
        self._keeps = accelerator.buffers.keeps
        address_bits = max(1, (accelerator.buffers.accumulators - 1).bit_length())
        groups = array.column_count // accelerator.post_lanes
        super().__init__(
            {
                "i": In(stream.Signature(layout_of(Unit.POST, tables=self._tables is not None))),
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
            }
            | ({} if self._tables is None else {"tables": In(BufferWrite.of(accelerator))}),
            name="post",
            parameters=(
                array,
                accelerator.buffers.accumulators,
                accelerator.post_lanes,
                self._keeps,
                self._tables,
            ),
        )

    @property
    def accelerator(self) -> Accelerator:
        return self._accelerator

    def build(self) -> Module:
        m = Module()
        lane_groups = self._accelerator.array.lanes // self._accelerator.post_lanes
        m.submodules.nest = nest = PostNest(lane_groups=lane_groups)
        m.submodules.finish = finish = Finish(latency=post_latency(self._accelerator))
        mask = Signal(TOKEN_BITS)
        layout = data.StructLayout(
            {"low": signed(self._bits), "high": signed(self._bits)}
            | dict.fromkeys(("rounding", "residual", "residual_signed"), 1)
            | dict.fromkeys(("residual_scaled", "scaled", "output_signed"), 1)
            | {"offset": WORD_BITS}
            | ({} if self._tables is None else {"looks_up": 1, "table": 4})
        )
        options: Any = Signal(layout)
        # A step comes a cycle after its turn, when the next descriptor may be there already.
        stepped: Any = Signal(layout)
        m.d.sync += stepped.eq(options)
        payload = self.i.payload
        # What is taken where there is no descriptor has no turn.
        with m.If(self.i.ready):
            m.d.sync += [
                mask.eq(payload.signal & giver_mask(Unit.POST, keeps=self._keeps)),
                options.offset.eq(payload.residuals - payload.outputs),
                *(
                    options[name].eq(payload[name])
                    for name in ("low", "high", "rounding", "residual", "residual_signed")
                ),
            ]
            if self._scaling is not None:
                self._vector_options(m, payload, options)
            if self._tables is not None:
                names = ("looks_up", "table", "output_signed")
                m.d.sync += [options[name].eq(payload[name]) for name in names]
        m.d.comb += [
            nest.i.valid.eq(self.i.valid),
            nest.i.payload.eq(Value.cast(payload)[: PostLayout.size]),
            self.i.ready.eq(nest.i.ready),
            finish.step.eq(nest.turn),
            finish.last.eq(nest.last),
            finish.mask.eq(mask),
            self.signal.eq(finish.signal),
            self.busy.eq(finish.busy),
        ]
        delays = Delays(m)
        self._read(m, delays, nest, stepped)
        codes = self._requantise(m, delays, nest, stepped)
        if self._tables is not None:
            codes = self._look_up(m, delays, stepped, codes)
        self._write(m, delays, nest, self._pool(m, delays, nest, codes), stepped)
        return m

    def _vector_options(self, m: Module, payload: Any, options: Any) -> None:
        """Take over what concerns scales; outputs that get some have other limits."""
        m.d.sync += [
            options[name].eq(payload[name])
            for name in ("residual_scaled", "scaled", "output_signed")
        ]
        with m.If(payload.scaled):
            unsigned_limit, signed_limit = (
                self._accelerator.array.vector_limit(is_signed=is_signed)
                for is_signed in (False, True)
            )
            limit = Signal(signed(self._bits))
            m.d.comb += limit.eq(Mux(payload.output_signed, signed_limit, unsigned_limit))
            m.d.sync += [options.low.eq(Mux(payload.low < 0, -limit, 0)), options.high.eq(limit)]

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
        lane_group = delays("lane_group", nest.o.lane_group, 2)
        group = Signal(width)
        stop = array.lanes * array.activation_bits
        m.d.comb += group.eq(_chosen(self.residual_word[:stop], width, lane_group))
        enabled = delays("residual", options.residual, 2)
        is_signed = delays("residual_signed", options.residual_signed, 2)
        scaled = delays("residual_scaled", options.residual_scaled, 2)
        scales = self._residual_scales(m, scaled, lane_group)
        codes = []
        for lane in range(lanes):
            stored = group.word_select(lane, array.activation_bits)
            code = Signal(signed(self._bits), name=f"residual_{lane}", reset_less=True)
            value: Value = Cat(stored, stored[-1] & is_signed).as_signed()
            if scales is not None:
                if isinstance(array.elements, Esb):
                    element = esb_element(array.elements, stored, is_signed)
                    value = Mux(scaled, element, value)
                value = value * scales[lane // array.vector_lanes]
            m.d.sync += code.eq(Mux(enabled, value, 0))
            codes.append(code)
        return codes

    def _residual_scales(self, m: Module, scaled: Value, lane_group: Value) -> list[Value] | None:
        """Return the residual codes' scales of the step's lane group, 1 where they have none."""
        array, scaling = self._accelerator.array, self._scaling
        if scaling is None:
            return None
        bits, vectors = scaling.scale.bits, self._accelerator.post_lanes // array.vector_lanes
        group = Signal(vectors * bits, name="residual_scale_codes")
        start = array.lanes * array.activation_bits
        m.d.comb += group.eq(_chosen(self.residual_word[start:], len(group), lane_group))
        scales: list[Value] = []
        for index in range(vectors):
            scale = decode_scale(scaling.scale, group.word_select(index, bits))
            value = scale.significand
            if scale.shift is not None:
                value = value << scale.shift
            kept = Signal(scaling.scale.high.bit_length(), name=f"residual_scale_{index}")
            m.d.comb += kept.eq(Mux(scaled, value, 1))
            scales.append(kept)
        return scales

    def _requantise(self, m: Module, delays: Delays, nest: PostNest, options: Any) -> list[Signal]:
        """Return the code of each lane."""
        lanes, bits = self._accelerator.post_lanes, self._accelerator.array.accumulator_bits
        constants = Signal(len(self.constant_word), reset_less=True)
        m.d.sync += constants.eq(self.constant_word)
        residuals = self._residuals(m, delays, nest, options)
        codes = []
        for lane in range(lanes):
            requant = Requant(accumulator_bits=bits, code_bits=self._bits)
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

    def _look_up(
        self, m: Module, delays: Delays, options: Any, codes: list[Signal]
    ) -> list[Signal]:
        """Return what each lane's code becomes; fill all lanes' tables alike."""
        write = self.tables
        values = []
        for number, code in enumerate(codes):
            m.submodules[f"lookup_{number}"] = lookup = Lookup(self._accelerator)
            m.d.comb += [
                lookup.write_enable.eq(write.enable & (write.target == Buffer.TABLES.value)),
                lookup.write_address.eq(write.address),
                lookup.write_data.eq(write.data),
                lookup.code.eq(code),
                lookup.enable.eq(delays("looks_up", options.looks_up, POOL_STAGE)),
                lookup.number.eq(delays("table", options.table, POOL_STAGE)),
                lookup.is_signed.eq(delays("output_signed", options.output_signed, POOL_STAGE)),
            ]
            values.append(lookup.value)
        return values

    def _pool(self, m: Module, delays: Delays, nest: PostNest, codes: list[Signal]) -> list[Signal]:
        """Keep and return the maximum over each window."""
        first = delays("first", nest.o.first, self._codes_stage)
        pooled = []
        for lane, code in enumerate(codes):
            best = Signal(signed(self._bits), name=f"best_{lane}", reset_less=True)
            with m.If(first | (code > best)):
                m.d.sync += best.eq(code)
            pooled.append(best)
        return pooled

    def _write(
        self, m: Module, delays: Delays, nest: PostNest, pooled: list[Signal], options: Any
    ) -> None:
        """Write each window's maximum, or what vectors of them become, after its last step."""
        step, bits = nest.o, self._accelerator.array.activation_bits
        stage = self._codes_stage + POOL_LATENCY
        codes: list[Value] = [best[:bits] for best in pooled]
        if self._scaling is not None:
            element = self._accelerator.array.element(is_signed=False)
            latency = QuantiserStages.of(self._scaling, element).latency
            stage += latency
            plain = [delays(f"plain_{lane}", code, latency) for lane, code in enumerate(codes)]
            scaled = delays("scaled", options.scaled, stage)
            elements = self._vectors(m, delays, pooled, options, self._scaling)
            codes = [
                Mux(scaled, element, code)[:bits]
                for element, code in zip(elements, plain, strict=True)
            ]
        m.d.comb += [
            self.write.enable.eq(delays("write", nest.step & step.last, stage)),
            self.write.address.eq(delays("output_address", step.output_address, stage)),
            self.write.group.eq(delays("lane_group", step.lane_group, stage)),
            self.write.codes.eq(Cat(*codes)),
            self.events.output_writes.eq(self.write.enable),
        ]

    def _vectors(
        self,
        m: Module,
        delays: Delays,
        pooled: list[Signal],
        options: Any,
        scaling: BlockScaling,
    ) -> list[Value]:
        """Return the elements of all lanes; write their scales."""
        elements: list[Value] = []
        scales = []
        for index, first in enumerate(range(0, len(pooled), scaling.vector)):
            quantiser = VectorQuantiser(
                scaling=scaling,
                elements=self._accelerator.array.element(is_signed=False),
                wide_bits=self._bits,
            )
            m.submodules[f"vector_{index}"] = quantiser
            values = pooled[first : first + scaling.vector]
            m.d.comb += [
                quantiser.is_signed.eq(
                    delays("output_signed", options.output_signed, VECTOR_STAGE)
                ),
                *(a.eq(b) for a, b in zip(quantiser.values, values, strict=True)),
            ]
            elements += list(quantiser.elements)
            scales.append(quantiser.scale)
        m.d.comb += self.write.scales.eq(Cat(*scales))
        return elements


def _chosen(word: Value, width: int, group: Value) -> Value:
    """Return the ``width`` bits of ``word`` that are those of a lane group."""
    groups = [word[n : n + width] for n in range(0, len(word), width)]
    return Choice(groups)[group] if len(groups) > 1 else groups[0]

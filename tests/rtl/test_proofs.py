# amaranth: UnusedElaboratable=no
"""What holds for all inputs: products, dot products, queues and bursts.

Where there are registers, a proof covers all that can happen within some cycles of reset.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, Signal, Value, signed

from celosia.dataflow.microarchitecture import PAGE_BYTES, tree_levels
from celosia.models.formats import Esb, Fixed, Format, Pot, Sp2
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.column import Base, Column
from celosia.rtl.pe import LANE_BITS, LUT_MULTIPLIERS, MULTIPLIERS, MakeMultiplier, multiplier
from celosia.rtl.queue import Queue, RegisterQueue

from .prover import prove

FORMATS = [
    *(Sp2(bits=bits) for bits in range(3, 9)),
    *(Fixed(bits=bits) for bits in range(2, 9)),
    *(Pot(bits=bits) for bits in range(2, 6)),
    *(
        Esb(bits=bits, linear=n)
        for bits, n in ((3, 0), (4, 0), (4, 1), (5, 1), (5, 2), (6, 2), (6, 3))
    ),
]


def weight_values(weights: Format) -> Array[Const]:
    """Each code's value."""
    return Array([Const(int(value), signed(18)) for value in weights.decode_table()])


def counter() -> Module:
    """What counts every cycle, and claims never to reach 5."""
    m = Module()
    count = Signal(3)
    m.d.sync += count.eq(count + 1)
    m.d.comb += Assert(count != 5)
    return m


def test_wrong_claims_are_refuted(tmp_path: Path) -> None:
    prove(counter(), [], tmp_path, steps=5)
    with pytest.raises(AssertionError, match="proof did fail"):
        prove(counter(), [], tmp_path, steps=6)
    m, any_value = Module(), Signal(8)
    m.d.comb += Assert(any_value != 77)
    with pytest.raises(AssertionError, match="Assert failed in proof"):
        prove(m, [any_value], tmp_path)


def product_cases() -> Iterator[Any]:
    """Formats and their multipliers; proofs of a minute are a campaign."""
    for fmt in FORMATS:
        slow = (pytest.mark.campaign,) if fmt.bits > 7 and isinstance(fmt, Sp2) else ()
        yield pytest.param(fmt, MULTIPLIERS, id=fmt.name, marks=slow)
        if LUT_MULTIPLIERS[type(fmt)] is not MULTIPLIERS[type(fmt)]:
            slow = (pytest.mark.campaign,) if fmt.bits > 6 else ()
            yield pytest.param(fmt, LUT_MULTIPLIERS, id=f"{fmt.name}-luts", marks=slow)


@pytest.mark.parametrize(("weights", "known"), list(product_cases()))
def test_products(
    weights: Format, known: Mapping[type[Format], MakeMultiplier], tmp_path: Path
) -> None:
    """Every code times any activation of 9 bits: one multiplier for each code."""
    m = Module()
    activation, lane = Signal(signed(9)), Signal(signed(LANE_BITS))
    m.d.comb += lane.eq(activation)
    for code, value in enumerate(weight_values(weights)):
        unit = multiplier(m, weights, Const(code, weights.bits), str(code), known=known)
        product = Signal(signed(LANE_BITS), name=f"product_{code}")
        m.d.comb += [
            product.eq(unit.product(lane) + (0 if unit.owed is None else unit.owed)),
            Assert(product == activation * value),
        ]
    prove(m, [activation], tmp_path)


def delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Return ``value`` as it was ``cycles`` cycles before, 0 at first."""
    for n in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{n}")
        m.d.sync += register.eq(value)
        value = register
    return value


@pytest.mark.parametrize(
    ("weights", "lanes", "pixels"),
    [
        (Sp2(bits=4), 2, 1),
        pytest.param(Sp2(bits=3), 3, 2, marks=pytest.mark.campaign),
        (Fixed(bits=3), 3, 1),
        (Fixed(bits=2), 5, 2),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_column(weights: Format, lanes: int, pixels: int, tmp_path: Path) -> None:
    """Dot products, kept or added to the sum so far, equal the plain expression."""
    m = Module()
    bits = 3
    m.submodules.column = column = Column(
        weight_format=weights, lanes=lanes, pixels=pixels, activation_bits=bits,
        accumulator_bits=18, depth=1,
    )  # fmt: skip
    codes = Signal(lanes * weights.bits)
    operands = [Signal(lanes * bits, name=f"operand_{pixel}") for pixel in range(pixels)]
    pixel, add = Signal(range(max(pixels, 2))), Signal()
    stages = len(tree_levels(lanes))
    values = weight_values(weights)
    m.d.comb += [
        column.weights.eq(codes),
        # Of the accumulator, all is written, read and drained in every cycle.
        column.control.step.eq(1),
        column.control.base.eq(Mux(add, Base.SUM, Base.ZERO)),
        column.control.write.eq(1),
        column.drain_enable.eq(1),
        column.drain.pixel.eq(pixel),
        Assume(pixel < pixels),
    ]
    held = delayed(m, codes, 1, "held")
    sums = []
    for index, operand in enumerate(operands):
        lane_operands = [operand.word_select(lane, bits).as_signed() for lane in range(lanes)]
        m.d.comb += Cat(
            column.activations[index].word_select(lane, LANE_BITS) for lane in range(lanes)
        ).eq(Cat(_extended(m, value, f"lane_{index}_{n}") for n, value in enumerate(lane_operands)))
        dot = sum(
            (
                values[held.word_select(lane, weights.bits)] * value
                for lane, value in enumerate(lane_operands)
            ),
            start=Const(0),
        )
        plain = Signal(signed(18), name=f"plain_{index}")
        m.d.comb += plain.eq(dot)
        total = Signal(signed(18), name=f"total_{index}")
        m.d.sync += total.eq(Mux(add, total, 0) + delayed(m, plain, stages, f"plain_{index}"))
        # Written in the cycle after, and read in the next: see Column.
        sums.append(delayed(m, total, 1, f"total_{index}"))
    drained = Signal(signed(18))
    m.d.sync += drained.eq(Array(sums)[pixel])
    m.d.comb += Assert(column.drained[0] == delayed(m, drained, 1, "drained"))
    prove(m, [codes, *operands, pixel, add], tmp_path, steps=stages + 7)


def _extended(m: Module, value: Value, name: str) -> Signal:
    lane = Signal(signed(LANE_BITS), name=name)
    m.d.comb += lane.eq(value)
    return lane


@pytest.mark.parametrize(
    ("kind", "depth"), [*itertools.product([Queue, RegisterQueue], [1, 4]), (Queue, 2), (Queue, 3)]
)
def test_queue(kind: type[Queue | RegisterQueue], depth: int, tmp_path: Path) -> None:
    """It is a list: nothing is lost, made up or reordered; its flags are those of its length."""
    m = Module()
    m.submodules.queue = queue = kind(2, depth=depth)
    entries = [Signal(2, name=f"entry_{n}") for n in range(depth + 1)]
    length, push, pop = Signal(range(depth + 1)), Signal(), Signal()
    i_payload, i_valid, o_ready = Signal(2), Signal(), Signal()
    m.d.comb += [
        queue.i.payload.eq(i_payload),
        queue.i.valid.eq(i_valid),
        queue.o.ready.eq(o_ready),
        push.eq(i_valid & (length != depth)),
        pop.eq(o_ready & (length != 0)),
        Assert(queue.i.ready == (length != depth)),
        Assert(queue.o.valid == (length != 0)),
        Assert(~queue.o.valid | (queue.o.payload == entries[0])),
    ]
    m.d.sync += length.eq(length + push - pop)
    for n, (entry, behind) in enumerate(itertools.pairwise(entries)):
        last = push & (length - pop == n)
        m.d.sync += entry.eq(Mux(last, i_payload, Mux(pop, behind, entry)))
    prove(m, [i_payload, i_valid, o_ready], tmp_path, steps=2 * depth + 6)


@pytest.mark.parametrize(("data_bits", "burst_beats"), [(64, 4), (512, 64), (128, 7)])
def test_bursts(data_bits: int, burst_beats: int, tmp_path: Path) -> None:
    """Runs are cut into as few bursts as may be, none longer than asked or across 4 KiB."""
    m = Module()
    splitter = BurstSplitter(
        address_bits=14, data_bits=data_bits, burst_beats=burst_beats, run_bits=8
    )
    m.submodules.splitter = splitter
    run: Any = Signal(splitter.i.payload.shape())
    run_valid, ready, stalled = Signal(), Signal(), Signal()
    beat_bytes = data_bits // 8
    address, left, last = Signal(14), Signal(8), Signal()  # of the run, what is in no burst yet
    burst = splitter.o.p
    to_page, longest, before = Signal(13), Signal(13), Signal(len(Value.cast(splitter.o.payload)))
    m.d.comb += [
        splitter.i.payload.eq(run),
        splitter.i.valid.eq(run_valid),
        splitter.o.ready.eq(ready),
        Assume(run.beats != 0),
        Assume(run.address % beat_bytes == 0),
        to_page.eq((PAGE_BYTES - address % PAGE_BYTES) // beat_bytes),
        longest.eq(Mux(to_page < burst_beats, to_page, burst_beats)),
        Assert(~stalled | (splitter.o.valid & (Value.cast(splitter.o.payload) == before))),
    ]
    with m.If(splitter.o.valid):
        m.d.comb += [
            Assert(burst.address == address),
            Assert(burst.beats == Mux(left < longest, left, longest)),
            Assert(burst.beats != 0),
            Assert(burst.last == (last & (burst.beats == left))),
            Assert(~splitter.i.ready),
        ]
    with m.If(splitter.o.valid & ready):
        m.d.sync += [address.eq(address + burst.beats * beat_bytes), left.eq(left - burst.beats)]
    with m.If(splitter.i.ready & run_valid):
        m.d.comb += Assert(left == 0)
        m.d.sync += [address.eq(run.address), left.eq(run.beats), last.eq(run.last)]
    m.d.sync += [
        stalled.eq(splitter.o.valid & ~ready),
        before.eq(Value.cast(splitter.o.payload)),
    ]
    prove(m, [Value.cast(run), run_valid, ready], tmp_path, steps=10)

"""A compute unit with its buffers and array, and what a nest does to accumulators in numpy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup, Depthwise
from celosia.dataflow.descriptors import Buffer, Compute
from celosia.models.formats import BlockScaling, Fixed, Sp2, parse_format
from celosia.models.operations import DISTANCE, parse_operation
from celosia.models.recipe import parse_elements
from celosia.rtl.array import Array
from celosia.rtl.buffers import InputBuffer
from celosia.rtl.compute import Compute as ComputeUnit
from celosia.rtl.descriptors import encode


def small(
    columns: dict[str, int], lanes: int, pixels: int, *, post_lanes: int = 1, bits: int = 8,
    accumulator_bits: int = 32, data_bits: int = 64, accumulators: int = 32,
    scaling: BlockScaling | None = None, elements: str | None = None,
    depthwise: Depthwise | None = None,
) -> Accelerator:  # fmt: skip
    """An accelerator of the given array with small buffers; ``columns`` such as ``fixed4@dsp``."""
    return Accelerator(
        name="small",
        array=ArrayShape(
            columns=tuple(
                ColumnGroup(
                    format=parse_format(name.split(" ")[0].split("@")[0]),
                    count=count,
                    circuit=Circuit(name.split("@")[1]) if "@" in name else Circuit.LANES,
                    operation=parse_operation(name.partition(" ")[2] or "multiply"),
                )
                for name, count in columns.items()
            ),
            lanes=lanes,
            pixels=pixels,
            accumulator_bits=accumulator_bits,
            activation_bits=bits,
            scaling=scaling,
            elements=None if elements is None else parse_elements(elements),
            depthwise=depthwise,
        ),
        buffers=Buffers(
            activations=16,
            weights=16,
            accumulators=accumulators,
            constants=8,
            residuals=16,
            outputs=16,
        ),
        bus=Bus(data_bits=data_bits, burst_beats=16),
        post_lanes=post_lanes,
    )


class ArrayBench(wiring.Component):
    """Compute unit, its two buffers and the array."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.unit = ComputeUnit(accelerator)
        self.activations = InputBuffer.of(accelerator, Buffer.ACTIVATIONS)
        self.weights = InputBuffer.of(accelerator, Buffer.WEIGHTS)
        self.array = Array(accelerator)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules += [self.unit, self.activations, self.weights, self.array]
        m.d.comb += [
            self.activations.read.eq(self.unit.activations),
            self.weights.read.eq(self.unit.weights),
            self.array.weights.eq(self.weights.words[0]),
            self.array.activations_signed.eq(self.unit.activations_signed),
            self.array.control.eq(self.unit.control),
            *(a.eq(b) for a, b in zip(self.array.activations, self.activations.words, strict=True)),
        ]
        return m


@dataclass
class Contents:
    """Codes in the buffers: activations (address, pixel, lane), weights (address, column, lane)."""

    activations: np.ndarray
    weights: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator, accelerator: Accelerator) -> Contents:
        array, buffers = accelerator.array, accelerator.buffers
        shape = (buffers.activations, array.pixels, array.lanes)
        weights = [
            rng.integers(0, 1 << fmt.bits, (buffers.weights, array.lanes))
            for fmt in array.column_formats
        ]
        return cls(rng.integers(0, 1 << array.activation_bits, shape), np.stack(weights, axis=1))


def pack(codes: np.ndarray, bits: int) -> int:
    """Concatenate codes, the first lowest."""
    return sum(int(code) << bits * index for index, code in enumerate(codes))


async def write_word(ctx, port, target: Buffer, address: int, word: int, beats: int, lane=0):
    """Write one word of a buffer, slice by slice."""
    ctx.set(port.enable, 1)
    ctx.set(port.target, target.value)
    ctx.set(port.lane, lane)
    ctx.set(port.address, address)
    for index in range(beats):
        ctx.set(port.slice, index)
        ctx.set(port.data, word >> index * len(port.data) & (1 << len(port.data)) - 1)
        await ctx.tick()
    ctx.set(port.enable, 0)


async def fill(ctx, dut: ArrayBench, accelerator: Accelerator, contents: Contents) -> None:
    """Write ``contents`` into the buffers."""
    array = accelerator.array
    for address, lane in itertools.product(
        range(accelerator.buffers.activations), range(array.pixels)
    ):
        word = pack(contents.activations[address, lane], array.activation_bits)
        beats = accelerator.beats(accelerator.activation_word_bits)
        await write_word(ctx, dut.activations.write, Buffer.ACTIVATIONS, address, word, beats, lane)
    for address in range(accelerator.buffers.weights):
        word, offset = 0, 0
        for fmt, codes in zip(array.column_formats, contents.weights[address], strict=True):
            word |= pack(codes, fmt.bits) << offset
            offset += fmt.bits * array.lanes
        beats = accelerator.beats(accelerator.weight_word_bits)
        await write_word(ctx, dut.weights.write, Buffer.WEIGHTS, address, word, beats)


def wrap(values: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement of ``bits`` bits."""
    half = 1 << bits - 1
    return (values + half) % (2 * half) - half


def walk(descriptor: Compute):
    """Yield (activations, weights, accumulators, starts afresh) of each step."""
    loops = descriptor.loops
    for outer_first in itertools.product(*(range(loop.count) for loop in reversed(loops))):
        index = outer_first[::-1]
        yield (
            *(
                (getattr(descriptor, name)
                + sum(i * getattr(loop, name) for i, loop in zip(index, loops, strict=True)))
                & 0xFFFF
                for name in ("activations", "weights", "accumulators")
            ),
            not descriptor.accumulate
            and not any(i for i, loop in zip(index, loops, strict=True) if loop.reduction),
        )  # fmt: skip


def dot(group: ColumnGroup, codes: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """Sum of terms for each pixel: activations (pixel, lane), codes (lane,)."""
    weights = group.format.decode(codes)
    terms = group.operation.terms(weights, activations)
    off = (weights == group.format.low) & (group.operation == DISTANCE)
    return np.where(off, 0, terms).sum(axis=1)


def accumulate(
    accelerator: Accelerator, contents: Contents, nests: list[Compute], sums: np.ndarray
) -> dict[str, int]:
    """Run ``nests`` on ``sums`` (address, column, pixel) and count what the hardware counts."""
    array = accelerator.array
    counts = dict.fromkeys(
        (
            "compute_steps",
            "activation_reads",
            "weight_reads",
            "accumulator_reads",
            "accumulator_writes",
        ),
        0,
    )
    unsigned = Fixed(bits=array.activation_bits, signed=False)
    for nest in nests:
        fmt = Fixed(bits=array.activation_bits) if nest.activations_signed else unsigned
        before = (None, None, None)
        for activations, weights, row, fresh in walk(nest):
            a = fmt.decode(contents.activations[activations])
            columns = zip(array.column_groups, contents.weights[weights], strict=True)
            dots = np.stack([dot(group, codes, a) for group, codes in columns])
            sums[row] = wrap((0 if fresh else sums[row]) + dots, array.accumulator_bits)
            counts["compute_steps"] += 1
            counts["activation_reads"] += activations != before[0]
            counts["weight_reads"] += weights != before[1]
            counts["accumulator_writes"] += row != before[2]
            counts["accumulator_reads"] += row != before[2] and not fresh
            before = (activations, weights, row)
    return counts


def simulate(dut, *benches) -> None:
    """Run test benches on ``dut`` to their ends."""
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in benches:
        sim.add_testbench(bench)
    sim.run()


__all__ = [
    "ArrayBench",
    "Contents",
    "Sp2",
    "accumulate",
    "encode",
    "fill",
    "simulate",
    "small",
    "walk",
]

"""One engine of precision-scalable columns runs every layer, and every image, at its precision."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.memory import DDR4
from celosia.models.formats import Fixed
from celosia.models.network import Conv, MaxPool, Network, Requant, Tensor, Window
from celosia.scripts.simulate import simulate

SEED = 2109


def accelerator(circuit: Circuit) -> Accelerator:
    """16-bit operands, 16 lanes, two columns, and two pixels where that is quick to build."""
    return Accelerator(
        name="scalable",
        array=ArrayShape(
            columns=(ColumnGroup(format=Fixed(bits=16), count=2, circuit=circuit),),
            lanes=16,
            pixels=1 if circuit is Circuit.FUSION else 2,
            accumulator_bits=40,
            activation_bits=16,
        ),
        buffers=Buffers(
            activations=512, weights=512, accumulators=128, constants=64, residuals=64, outputs=256
        ),
        bus=Bus(data_bits=128, burst_beats=16),
        post_lanes=2,
    )


class Builder:
    """Adds convolutions of given precisions one after the other."""

    def __init__(self, channels: int, fmt: Fixed) -> None:
        self.random = np.random.default_rng(SEED)
        self.tensors = [Tensor(name="t0", shape=(channels, 6, 5), format=fmt, scale=1.0)]
        self.ops: list[Conv | MaxPool] = []

    def conv(self, channels: int, weights: tuple[Fixed, ...], output: Fixed) -> None:
        """Add a 3x3 convolution whose rows take the formats ``weights`` in turn."""
        source = self.tensors[-1]
        formats = tuple(weights[row % len(weights)] for row in range(channels))
        shape = (source.shape[0], 3, 3)
        values = np.stack([self.random.choice(fmt.values, shape) for fmt in formats])
        reach = int(np.abs(values).sum(axis=(1, 2, 3)).max())
        reach *= max(source.format.high, -source.format.low)
        zeros, shift = np.zeros(channels, np.int64), max(0, reach.bit_length() - output.bits - 2)
        requant = Requant(
            bias=self.random.integers(-50, 50, channels), positive=zeros + 1, negative=zeros + 1,
            residual=zeros, shift=zeros + shift, low=output.low, high=output.high,
        )  # fmt: skip
        number = len(self.tensors)
        self.ops.append(
            Conv(
                name=f"conv{number}", input=source.name, output=f"t{number}", groups=1,
                window=Window(kernel=(3, 3), padding=(1, 1, 1, 1)), weights=values,
                formats=formats, requant=requant,
            )
        )  # fmt: skip
        self.tensors.append(
            Tensor(name=f"t{number}", shape=(channels, 6, 5), format=output, scale=1.0)
        )

    def pool(self) -> None:
        source, number = self.tensors[-1], len(self.tensors)
        window = Window(kernel=(3, 3), padding=(1, 1, 1, 1))
        self.ops.append(
            MaxPool(name=f"pool{number}", input=source.name, output=f"t{number}", window=window)
        )
        self.tensors.append(
            Tensor(name=f"t{number}", shape=source.shape, format=source.format, scale=1.0)
        )

    def network(self) -> Network:
        return Network(
            name="precisions", tensors=tuple(self.tensors), inputs=("t0",),
            outputs=(self.tensors[-1].name,), ops=tuple(self.ops),
        )  # fmt: skip


def mixed() -> Network:
    """A network whose layers have all kinds of widths."""
    builder = Builder(5, Fixed(bits=8, signed=False))
    builder.conv(7, (Fixed(bits=8), Fixed(bits=3)), Fixed(bits=16))
    builder.conv(18, (Fixed(bits=16),), Fixed(bits=5))
    builder.pool()
    builder.conv(4, (Fixed(bits=3),), Fixed(bits=1, signed=False))
    builder.conv(3, (Fixed(bits=1),), Fixed(bits=9, signed=False))
    builder.conv(6, (Fixed(bits=7, signed=False),), Fixed(bits=2))
    builder.conv(2, (Fixed(bits=12),), Fixed(bits=11))
    return builder.network()


def uniform(bits: int) -> Network:
    """The same layers with all operands of ``bits`` bits."""
    builder = Builder(5, Fixed(bits=bits, signed=False))
    builder.conv(7, (Fixed(bits=bits),), Fixed(bits=bits, signed=False))
    builder.conv(3, (Fixed(bits=bits),), Fixed(bits=bits))
    return builder.network()


def check(network: Network, target: Accelerator, samples: int = 1) -> int:
    """Simulate; assert that every bit, cycle and access is as expected; return the cycles."""
    source = network.tensors[0]
    codes = np.random.default_rng(SEED).integers(
        source.format.low, source.format.high + 1, (samples, *source.shape)
    )
    result = simulate(network, target, {"t0": codes}, DDR4)
    assert result.holds, result.verdict_line()
    return result.cycles_measured


@pytest.mark.parametrize("circuit", [c for c in Circuit if c.scalable], ids=lambda c: c.value)
def test_every_layer_at_its_precision(circuit: Circuit) -> None:
    check(mixed(), accelerator(circuit), samples=2)


@pytest.mark.parametrize("circuit", [c for c in Circuit if c.scalable], ids=lambda c: c.value)
def test_every_image_at_its_precision(circuit: Circuit) -> None:
    """The same layers at a precision drawn for each image; narrower operands are quicker."""
    target = accelerator(circuit)
    drawn = np.random.default_rng(SEED).permutation(np.arange(2, 17))[:8]
    cycles = {int(bits): check(uniform(int(bits)), target) for bits in (2, 16, *drawn)}
    assert cycles[2] < cycles[16] / 2

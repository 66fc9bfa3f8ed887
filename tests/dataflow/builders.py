"""Small networks and accelerators for the tests of this folder."""

from __future__ import annotations

import functools

import numpy as np

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.interpret import interpret
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Program
from celosia.models.formats import Fixed, Format, parse_format
from celosia.models.golden import evaluate
from celosia.models.network import (
    Concat,
    Conv,
    Interleave,
    MaxPool,
    Network,
    Op,
    Part,
    Requant,
    Tensor,
    Window,
)
from celosia.models.operations import MULTIPLY, Operation, parse_operation
from celosia.models.random_network import random_inputs


def column_group(name: str, count: int) -> ColumnGroup:
    """Return columns by the name of their format, and of their operation if it is another."""
    fmt, _, operation = name.partition(" ")
    return ColumnGroup(
        format=parse_format(fmt),
        count=count,
        operation=parse_operation(operation or "multiply"),
    )


def accelerator(
    columns: dict[str, int],
    lanes: int,
    pixels: int,
    *,
    depths: tuple[int, int, int, int, int, int] = (512, 512, 128, 64, 512, 512),
    post_lanes: int = 1,
    data_bits: int = 64,
    activation_bits: int = 8,
    accumulator_bits: int = 32,
) -> Accelerator:
    """Return an accelerator; ``depths`` in the order of the fields of ``Buffers``."""
    names = ("activations", "weights", "accumulators", "constants", "residuals", "outputs")
    groups = tuple(column_group(name, count) for name, count in columns.items())
    return Accelerator(
        name="test",
        array=ArrayShape(
            columns=groups,
            lanes=lanes,
            pixels=pixels,
            activation_bits=activation_bits,
            accumulator_bits=accumulator_bits,
        ),
        buffers=Buffers(**dict(zip(names, depths, strict=True))),
        bus=Bus(data_bits=data_bits, burst_beats=16),
        post_lanes=post_lanes,
    )


ACCELERATORS = {
    "2x4x1": preset("tiny"),
    "7x5x1": accelerator({"sp2_4": 3, "fixed8": 4}, 5, 1),
    "8x8x1": preset("small"),
    "24x12x3": accelerator(
        {"fixed4": 8, "sp2_4": 6, "fixed8": 10}, 12, 3, post_lanes=4, data_bits=128
    ),
    "16x16x2": preset("medium"),
}

FORMATS = tuple(parse_format(name) for name in ("fixed4", "sp2_4", "fixed8"))


class Build:
    """Builds a network one operation at a time; every method returns the output's name."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.inputs: list[str] = []
        self.ops: list[Op] = []

    def _tensor(self, name: str, shape: tuple[int, int, int], fmt: Fixed) -> str:
        self.tensors[name] = Tensor(name=name, shape=shape, format=fmt, scale=1.0)
        return name

    def input(self, shape: tuple[int, int, int], fmt: str = "fixed8") -> str:
        self.inputs.append(self._tensor(f"in{len(self.inputs)}", shape, _fixed(fmt)))
        return self.inputs[-1]

    def conv(
        self,
        source: str,
        channels: int,
        window: Window,
        *,
        rows: tuple[str, ...] = ("fixed8",),
        groups: int = 1,
        residual: str | None = None,
        fmt: str | None = None,
        operation: Operation = MULTIPLY,
    ) -> str:
        """Add a convolution whose rows take the formats ``rows`` in turn."""
        taken = self.tensors[source]
        out = _fixed(fmt) if fmt else taken.format
        formats: tuple[Format, ...] = tuple(
            parse_format(rows[i % len(rows)]) for i in range(channels)
        )
        shape = (taken.shape[0] // groups, *window.kernel)
        weights = np.stack([self.random.choice(operation.weights(f), shape) for f in formats])
        spread = int(np.abs(weights).sum(axis=(1, 2, 3)).max()) * taken.format.high // out.high
        shift = np.full(channels, max(0, spread.bit_length() + 4))
        draw = functools.partial(self.random.integers, size=channels)
        zero = np.zeros(channels, np.int64)
        requant = Requant(
            bias=draw(-50, 50),
            positive=draw(20, 64),
            negative=draw(-5, 40),
            residual=zero if residual is None else draw(-60, 60) << 3,
            shift=shift,
            low=out.low,
            high=out.high,
        )
        name = f"op{len(self.ops)}"
        output = self._tensor(f"t{name}", (channels, *window.output_size(*taken.shape[1:])), out)
        self.ops.append(
            Conv(
                name=name, input=source, output=output, window=window, groups=groups,
                weights=weights, formats=formats, requant=requant, residual=residual,
                operation=operation,
            )
        )  # fmt: skip
        return output

    def pool(self, source: str, window: Window) -> str:
        taken, name = self.tensors[source], f"op{len(self.ops)}"
        shape = (taken.shape[0], *window.output_size(*taken.shape[1:]))
        output = self._tensor(f"t{name}", shape, taken.format)
        self.ops.append(MaxPool(name=name, input=source, output=output, window=window))
        return output

    def concat(self, *members: str) -> str:
        parts, name = [self.tensors[member] for member in members], f"op{len(self.ops)}"
        shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
        output = self._tensor(f"t{name}", shape, parts[0].format)
        self.ops.append(Concat(name=name, inputs=members, output=output))
        return output

    def interleave(self, *columns: str) -> str:
        """Add what has the columns of ``columns`` in turn."""
        taken, name = self.tensors[columns[0]], f"op{len(self.ops)}"
        channels, height, width = taken.shape
        shape = (channels, height, width * len(columns))
        output = self._tensor(f"t{name}", shape, taken.format)
        parts = tuple(
            Part(input=column, origin=(0, x), stride=(1, len(columns)))
            for x, column in enumerate(columns)
        )
        self.ops.append(Interleave(name=name, parts=parts, output=output))
        return output

    def network(self) -> Network:
        return Network(
            name="built",
            tensors=tuple(self.tensors.values()),
            inputs=tuple(self.inputs),
            outputs=(self.ops[-1].output,),
            ops=tuple(self.ops),
        )


def _fixed(name: str) -> Fixed:
    fmt = parse_format(name)
    assert isinstance(fmt, Fixed)
    return fmt


def k(size: int, **others: object) -> Window:
    """Return a square window of ``size``."""
    return Window(kernel=(size, size), **others)  # type: ignore[arg-type]


def same(size: int) -> Window:
    """Return a square window of odd ``size`` whose output has the input's size."""
    return Window(kernel=(size, size), padding=(size // 2,) * 4)


def filled(program: Program, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return the program's image with the first samples of ``inputs`` written."""
    image = program.image.copy()
    for name, codes in inputs.items():
        for sample in range(program.samples):
            program.placement(name).of(sample).write(image, codes[sample])
    return image


def check(
    network: Network,
    target: Accelerator,
    mapping: Mapping | None = None,
    seeds: tuple[int | None, ...] = (None, 1, 2),
) -> Program:
    """Compile and interpret ``network``; assert that every tensor equals the golden model's."""
    program = compile_network(network, target, mapping)
    inputs = random_inputs(network, program.samples, 7)
    golden = evaluate(network, inputs)
    image = filled(program, inputs)
    for seed in seeds:
        after = interpret(program, image, seed)
        for tensor in network.tensors:
            if tensor.name in program.kept:
                continue
            place = program.placement(tensor.name)
            got = np.stack([place.of(sample).read(after) for sample in range(program.samples)])
            np.testing.assert_array_equal(got, golden[tensor.name], f"{tensor.name} {seed}")
    return program

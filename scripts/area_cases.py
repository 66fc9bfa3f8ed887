"""Accelerators that the model of area is fitted to, and others that it is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus, Tables
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup, Depthwise
from celosia.dataflow.explore.demand import Demand
from celosia.dataflow.explore.space import AcceleratorSpace
from celosia.dataflow.presets import preset
from celosia.models.formats import parse_format
from celosia.models.operations import DISTANCE, MULTIPLY, Operation, parse_operation, shift


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnKind:
    """What columns are made of: format of weights, circuit and operation."""

    weights: str
    circuit: Circuit
    operation: Operation = MULTIPLY

    def group(self, count: int) -> ColumnGroup:
        """Return ``count`` columns of this kind."""
        return ColumnGroup(
            format=parse_format(self.weights),
            count=count,
            circuit=self.circuit,
            operation=self.operation,
        )


def kinds(hard: Circuit) -> list[ColumnKind]:
    """Return every kind of column that is measured; ``hard`` as for a space."""
    soft = ("fixed2", "fixed3", "fixed4", "fixed6", "fixed8", "pot_4", "pot_5",
            "sp2_4", "sp2_5", "sp2_6", "sp2_7", "sp2_8")  # fmt: skip
    mapped = ("fixed4", "fixed6", "fixed8", "sp2_4", "pot_4", "esb4_1", "esb5_2", "esb6_3")
    blocks = () if hard is Circuit.LANES else ("fixed4", "fixed6", "fixed8")
    return [
        *(ColumnKind(weights=name, circuit=Circuit.LUTS) for name in soft),
        *(ColumnKind(weights=name, circuit=Circuit.LANES) for name in mapped),
        *(ColumnKind(weights=name, circuit=hard) for name in blocks),
        ColumnKind(weights="fixed8", circuit=Circuit.LANES, operation=DISTANCE),
        ColumnKind(weights="fixed5", circuit=Circuit.LANES, operation=DISTANCE),
        ColumnKind(weights="pot_4", circuit=Circuit.LANES, operation=shift(6)),
        ColumnKind(weights="pot_5", circuit=Circuit.LANES, operation=shift(6)),
        *(ColumnKind(weights="fixed8", circuit=circuit) for circuit in Circuit if circuit.scalable),
    ]


def columns(kind: ColumnKind) -> list[Accelerator]:
    """Return engines of columns of ``kind`` at each of a few sizes; only those are synthesised."""
    tiny = preset("tiny")
    sizes = [(8, 1, 8, 24), (16, 1, 8, 24), (4, 2, 4, 32), (8, 1, 4, 20), (4, 3, 8, 28)]
    if kind.circuit.scalable:
        sizes = [(16, 1, 8, 24), (32, 1, 8, 24), (16, 2, 4, 28)]
    elif kind.circuit is Circuit.LANES:
        sizes.append((32, 1, 8, 24))  # one stage adds eight sums
    return [
        replace(
            tiny,
            name=f"column_{number}",
            post_lanes=1,
            array=ArrayShape(
                columns=(kind.group(3 if kind.circuit is Circuit.DSP else 1),),
                lanes=lanes,
                pixels=pixels,
                activation_bits=bits,
                accumulator_bits=sums,
            ),
        )
        for number, (lanes, pixels, bits, sums) in enumerate(sizes)
    ]


def frames() -> Iterator[Accelerator]:
    """Yield a small engine and others that differ in a thing or two, so most modules are shared."""
    tiny = preset("tiny")
    eight = (ColumnKind(weights="fixed8", circuit=Circuit.LANES).group(8),)

    def of(number: int, **changes: Any) -> Accelerator:
        parts = {}
        for part in ("array", "buffers", "bus"):
            mine = getattr(tiny, part)
            names = changes.keys() & set(type(mine).__slots__)
            parts[part] = replace(mine, **{name: changes.pop(name) for name in names})
        return replace(tiny, name=f"frame_{number}", **parts, **changes)

    yield tiny
    settings: tuple[dict[str, Any], ...] = (
        {"data_bits": 128, "burst_beats": 64, "outstanding": 8},
        {"data_bits": 256, "burst_beats": 64, "outstanding": 16},
        {"address_bits": 32},
        {"address_bits": 48, "data_bits": 128, "ports": 2},
        {"data_bits": 256, "ports": 4},
        {"activation_banks": 2},
        {"activation_banks": 2, "data_bits": 128, "lanes": 8, "pixels": 2, "post_lanes": 1},
        {"tables": Tables(index_bits=8, count=1)},
        {"tables": Tables(index_bits=10, count=2), "activation_bits": 4},
        {"accumulator_bits": 20, "accumulators": 64},
        {"accumulator_bits": 40, "accumulators": 1024},
        {"activation_bits": 4},
        {"columns": eight, "post_lanes": 1},
        {"columns": eight, "lanes": 8, "post_lanes": 4, "accumulator_bits": 24},
        {"columns": eight, "lanes": 16, "post_lanes": 8, "pixels": 3, "data_bits": 128},
        {"columns": eight, "lanes": 16, "depthwise": Depthwise(rows=3, columns=3, width=64)},
        {
            "columns": eight, "pixels": 2, "activation_bits": 4,
            "depthwise": Depthwise(rows=1, columns=3, width=256),
        },
        {"columns": (ColumnKind(weights="fixed8", circuit=Circuit.TILE).group(2),), "lanes": 16},
        {"columns": (ColumnKind(weights="fixed8", circuit=Circuit.FUSION).group(2),), "lanes": 16},
        {"columns": (ColumnKind(weights="fixed8", circuit=Circuit.SERIAL).group(2),), "lanes": 16},
    )  # fmt: skip
    yield from (of(number, **changes) for number, changes in enumerate(settings))
    yield from (preset(name) for name in ("small_vsq", "small_mxfp4", "small_nvfp4"))


_DECK: Final = (
    ("fixed4", "luts", "multiply"), ("sp2_4", "luts", "multiply"), ("fixed8", "hard", "multiply"),
    ("fixed5", "luts", "multiply"), ("pot_4", "luts", "multiply"), ("fixed4", "hard", "multiply"),
    ("fixed8", "luts", "multiply"), ("fixed6", "lanes", "distance"),
    ("sp2_4", "lanes", "multiply"), ("fixed8", "lanes", "multiply"),
    ("fixed3", "luts", "multiply"), ("esb4_1", "lanes", "multiply"),
)  # fmt: skip
"""Columns of engines at random: format of weights, circuit, operation."""

_WINDOWS: Final = (
    Depthwise(rows=2, columns=2, width=64),
    Depthwise(rows=3, columns=3, width=128),
    Depthwise(rows=2, columns=4, width=32),
)

_MOST_COLUMN: Final = 32
"""Most products a cycle of one column: more take minutes and say nothing new."""


def _bus(rng: np.random.Generator) -> Bus:
    data_bits = int(rng.choice([64, 64, 128, 128, 256]))
    return Bus(
        data_bits=data_bits,
        address_bits=int(rng.choice([32, 40, 40, 44])),
        burst_beats=int(rng.choice([16, 32, 64])),
        outstanding=int(rng.choice([4, 8, 16])),
        ports=int(rng.choice([n for n in (1, 1, 2, 4) if 32 * n <= data_bits])),
    )


def _buffers(rng: np.random.Generator) -> Buffers:
    return Buffers(
        activations=int(rng.choice([256, 512, 1024, 2048])),
        weights=int(rng.choice([64, 256, 512, 1024])),
        accumulators=int(rng.choice([64, 128, 256, 512])),
        constants=int(rng.choice([16, 64, 128])),
        residuals=int(rng.choice([64, 256, 1024])),
        outputs=int(rng.choice([64, 512, 1024])),
        activation_banks=int(rng.choice([1, 2])),
    )


def _engine(rng: np.random.Generator, name: str, groups: tuple[ColumnGroup, ...]) -> Accelerator:
    lanes = int(rng.choice([4, 8, 16]))
    plain = all(group.operation == MULTIPLY for group in groups)
    windows = [w for w in _WINDOWS if plain and w.positions <= lanes]
    array = ArrayShape(
        columns=groups,
        lanes=lanes,
        pixels=int(rng.choice([n for n in (1, 1, 2, 3, 4) if n * lanes <= _MOST_COLUMN])),
        accumulator_bits=int(rng.choice([22, 26, 30, 36])),
        activation_bits=int(rng.choice([4, 8, 8])),
        depthwise=windows[int(rng.integers(len(windows)))] if windows and rng.integers(2) else None,
    )
    both = int(np.gcd(array.column_count, lanes))
    tables = Tables(index_bits=int(rng.choice([8, 9, 11])), count=int(rng.choice([1, 2])))
    return Accelerator(
        name=name,
        array=array,
        buffers=_buffers(rng),
        bus=_bus(rng),
        post_lanes=int(rng.choice([n for n in (1, 2, 4, 8, 16) if both % n == 0])),
        tables=tables if rng.integers(3) == 0 else None,
    )


def _mixed(hard: Circuit, count: int) -> list[Accelerator]:
    """Return ``count`` engines at random, the same each time, with all that engines may have.

    Each has two kinds of columns, in turn, and perhaps windows, tables, and several ports.
    """
    rng = np.random.default_rng(21)
    found: list[Accelerator] = []
    while len(found) < count:
        names = [_DECK[(2 * len(found) + n) % len(_DECK)] for n in range(2)]
        groups = tuple(
            ColumnKind(
                weights=weights,
                circuit=hard if circuit == "hard" else Circuit(circuit),
                operation=parse_operation(operation),
            ).group(int(rng.choice([4, 4, 8, 12])))
            for weights, circuit, operation in names
        )
        try:
            found.append(_engine(rng, f"mixed_{len(found)}", groups))
        except ValueError:  # what was drawn does not go together: sums are too wide, say
            continue
    return found


_DEMANDS: Final = (
    (("sp2_4", "fixed4"), 8, 22),
    (("fixed8",), 8, 26),
    (("fixed4",), 4, 18),
    (("sp2_4", "fixed8"), 8, 28),
)
"""Formats of weights, bits of activations and of accumulators."""

_SMALL: Final = {
    "columns": (2, 4, 8, 16),
    "lanes": (4, 8, 16),
    "pixels": (1, 2, 3, 4),
    "scalable": ("none",),
    "data_bits": (64, 128),
    "post_lanes": (1, 2, 4, 8),
    "activations": (256, 512, 1024, 2048),
    "weights": (64, 256, 512, 1024),
    "accumulators": (64, 256, 512),
    "residuals": (64, 256, 1024),
    "outputs": (64, 512, 1024),
}
"""Sizes that synthesis takes about a minute for."""


def _searched(hard: Circuit, count: int) -> list[Accelerator]:
    """Return ``count`` accelerators at random as a search proposes them, the same each time."""
    rng = np.random.default_rng(20)
    found = []
    for number in range(count):
        names, bits, sums = _DEMANDS[number % len(_DEMANDS)]
        need = Demand(
            abilities=tuple((parse_format(name), MULTIPLY) for name in names),
            activation_bits=bits,
            accumulator_bits=sums,
        )
        space = AcceleratorSpace([need], hard, f"check_{number}", _SMALL)
        found.append(space.accelerator(space.sample(rng)))
    return found


def checks(hard: Circuit, count: int) -> list[Accelerator]:
    """Return ``count`` engines that tables were not made from; ``hard`` as for a space.

    Some as a search proposes them, then one with everything, and so on; the same each time.
    """
    searched, mixed = _searched(hard, count), _mixed(hard, count)
    turns = [engine for pair in zip(searched, mixed, strict=True) for engine in pair]
    return turns[:count]

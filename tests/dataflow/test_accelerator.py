from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from celosia.dataflow.accelerator import Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, ColumnGroup
from celosia.dataflow.presets import preset
from celosia.models.formats import BlockScaling, Fixed, Format, IntScale, Sp2
from celosia.models.operations import DISTANCE

from .builders import accelerator

FIXED8 = Fixed(bits=8)


@pytest.mark.parametrize(
    ("columns", "lanes", "pixels"),
    [({"fixed8": 2}, 4, 1), ({"sp2_4": 77, "fixed8": 51}, 32, 4), ({"fixed4": 7}, 5, 1),
     ({"fixed4": 24}, 12, 3), ({"fixed2": 1}, 1, 1)],
)  # fmt: skip
def test_any_shape(columns: dict[str, int], lanes: int, pixels: int) -> None:
    shape = accelerator(columns, lanes, pixels).array
    assert shape.products == sum(columns.values()) * lanes * pixels
    assert len(shape.column_formats) == shape.column_count


def test_column_formats_are_interleaved() -> None:
    names = [fmt.name for fmt in preset("small").array.column_formats]
    assert names == ["sp2_4", "fixed8"] * 4


def test_words() -> None:
    acc = preset("zcu102")
    assert acc.weight_word_bits == 16 * (36 * 4 + 28 * 8)
    assert acc.activation_word_bits == 128
    assert acc.constant_bits == 92
    assert acc.beats(129) == 2
    assert acc.word_bytes(129) == 32
    assert acc.activation_format == Fixed(bits=8, signed=False)


class _Wide(Format):
    """A format that no column holds."""

    name = "wide17"

    def decode_table(self) -> np.ndarray:
        return np.arange(-(1 << 16), 1 << 16)


@pytest.mark.parametrize(
    ("fmt", "count", "message"),
    [
        (Fixed(bits=8, signed=False), 1, "format must have negative values: ufixed8 has none"),
        (_Wide(bits=17), 1, "at most 16 bits, not wide17"),
        (Fixed(bits=1), 1, "values 0 and 1 .*: fixed1 has not"),
        (Sp2(bits=4), 0, r"count must be in 1\.\.1024, not 0"),
    ],
)
def test_column_group_wrong(fmt: Format, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ColumnGroup(format=fmt, count=count)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("columns", (), "columns must be a tuple of column groups"),
        (
            "columns",
            (ColumnGroup(format=FIXED8, count=1),) * 2,
            "must name each format, circuit and operation once",
        ),
        ("lanes", 0, r"lanes must be in 1\.\.256, not 0"),
        ("pixels", 65, r"pixels must be in 1\.\.64, not 65"),
        ("accumulator_bits", 15, r"accumulator_bits must be in 16\.\.44, not 15"),
        ("accumulator_bits", 45, "not 45"),
        ("activation_bits", 17, r"activation_bits must be in 1\.\.16, not 17"),
    ],
)
def test_array_wrong(field: str, value: object, message: str) -> None:
    good = ArrayShape(columns=(ColumnGroup(format=FIXED8, count=1),), lanes=1, pixels=1)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(good, **{field: value})  # type: ignore[arg-type]


def test_operations_wrong() -> None:
    with pytest.raises(TypeError, match="operation must be an Operation, not 'distance'"):
        ColumnGroup(format=FIXED8, count=1, operation="distance")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a distance needs signed fixed-point weights"):
        ColumnGroup(format=Sp2(bits=4), count=1, operation=DISTANCE)
    good = accelerator({"fixed8": 1, "fixed8 distance": 1}, 16, 1).array
    scaling = BlockScaling(scale=IntScale(bits=4), vector=16)
    with pytest.raises(ValueError, match="scaling must be None beside columns of operation dist"):
        dataclasses.replace(good, scaling=scaling)


def test_array_kinds_wrong() -> None:
    with pytest.raises(TypeError, match=r"lanes must be an integer, not 4\.0"):
        ArrayShape(columns=(ColumnGroup(format=FIXED8, count=1),), lanes=4.0, pixels=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="columns must hold ColumnGroup values, not 3"):
        ArrayShape(columns=(3,), lanes=4, pixels=1)  # type: ignore[arg-type]


def test_banks_wrong() -> None:
    good = preset("tiny").buffers
    assert dataclasses.replace(good, activation_banks=2).keeps
    assert not good.keeps
    with pytest.raises(ValueError, match=r"activation_banks must be in 1\.\.2, not 3"):
        dataclasses.replace(good, activation_banks=3)
    for depth in (1, 1000):
        with pytest.raises(ValueError, match=f"must be a power of two where .* is 2, not {depth}"):
            dataclasses.replace(good, activation_banks=2, activations=depth)


DEPTHS = [f.name for f in dataclasses.fields(Buffers) if f.name != "activation_banks"]


@pytest.mark.parametrize("field", DEPTHS)
def test_buffer_depths_wrong(field: str) -> None:
    good = preset("tiny").buffers
    assert getattr(dataclasses.replace(good, **{field: 65536}), field) == 65536
    for depth in (0, 65537):
        with pytest.raises(ValueError, match=rf"{field} must be in 1\.\.65536, not {depth}"):
            dataclasses.replace(good, **{field: depth})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_bits": 96}, "data_bits must be 64, 128, 256 or 512, not 96"),
        ({"data_bits": 32}, r"data_bits must be in 64\.\.512, not 32"),
        ({"address_bits": 65}, r"address_bits must be in 32\.\.64, not 65"),
        ({"burst_beats": 257}, r"burst_beats must be in 1\.\.256, not 257"),
        ({"data_bits": 512, "burst_beats": 65}, "burst_beats must be at most 64 at 512 data bits"),
        ({"outstanding": 0}, r"outstanding must be in 1\.\.64, not 0"),
    ],
)
def test_bus_wrong(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bus(**changes)


def test_accelerator_wrong() -> None:
    good = preset("small")
    with pytest.raises(ValueError, match="post_lanes must divide both the 8 columns and the 8"):
        dataclasses.replace(good, post_lanes=3)
    with pytest.raises(ValueError, match="columns and the 8 lanes, so be a divisor of 8, not 16"):
        dataclasses.replace(good, post_lanes=16)
    with pytest.raises(TypeError, match="bus must be of type Bus, not None"):
        dataclasses.replace(good, bus=None)  # type: ignore[arg-type]
    for name in ("", "7up", "a b", 'a"b', "é"):
        with pytest.raises(ValueError, match="name must be letters"):
            dataclasses.replace(good, name=name)

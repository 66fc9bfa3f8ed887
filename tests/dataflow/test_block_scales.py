"""Per-vector weight scales on the way to a program: places, words, refusals."""

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accelerator_file import dump_accelerator, parse_accelerator
from celosia.dataflow.array_shape import ArrayShape
from celosia.dataflow.compile import compile_network
from celosia.dataflow.microarchitecture import column_stages, post_latency, vector_levels
from celosia.dataflow.presets import preset, scaling_advice
from celosia.models.errors import CelosiaError
from celosia.models.formats import BlockScaling, parse_format, parse_scale
from celosia.models.network import Conv, Network, WeightScales
from celosia.models.random_network import random_network
from celosia.models.recipe import parse_elements

from .builders import Build, accelerator, check, k


def scaled(
    columns: dict[str, int],
    lanes: int,
    scale: str,
    vector: int,
    *,
    elements: str | None = None,
    product_bits: int | None = None,
    **sizes,
) -> Accelerator:
    """An accelerator whose columns, and perhaps activations, have scales."""
    plain = accelerator(columns, lanes, **sizes)
    scaling = BlockScaling(scale=parse_scale(scale), vector=vector, product_bits=product_bits)
    array = replace(
        plain.array,
        scaling=scaling,
        elements=None if elements is None else parse_elements(elements),
    )
    return replace(plain, array=array)


def network(seed: int, target: Accelerator, vector: int | None = None) -> Network:
    assert target.array.scaling is not None
    scaling = replace(target.array.scaling, vector=vector or target.array.scaling.vector)
    formats = (target.array.columns[0].format,)
    return random_network(seed, formats, scaling=scaling, elements=target.array.elements)


ACCELERATORS = {
    "part of a word": scaled({"fixed4": 4, "fixed8": 4}, 8, "uint4", 4, pixels=2),
    "a word": scaled({"fixed4": 3}, 4, "uint6", 4, pixels=1),
    "two words": scaled({"esb4_1": 4}, 8, "e8m0_3", 16, pixels=1),
    "three vectors": scaled({"esb4_1": 6}, 12, "ue4m3", 4, pixels=1, accumulator_bits=44),
    "both, rounded": scaled(
        {"fixed4": 8}, 8, "uint4", 4, pixels=2, post_lanes=8, elements="ufixed4", product_bits=6
    ),
    "both, powers": scaled(
        {"esb4_1": 4}, 4, "e8m0_3", 4, pixels=1, post_lanes=4, elements="fixed5"
    ),
    "MXFP4": scaled(
        {"esb4_1": 4},
        8,
        "e8m0_4",
        4,
        pixels=2,
        post_lanes=4,
        elements="esb4_1",
        accumulator_bits=44,
    ),
    "MXFP6": scaled(
        {"esb6_2": 4},
        4,
        "e8m0_3",
        4,
        pixels=1,
        post_lanes=4,
        elements="esb6_2",
        accumulator_bits=44,
    ),
    "NVFP4": scaled(
        {"esb4_1": 4}, 4, "ue4m3", 4, pixels=1, post_lanes=4, elements="esb4_1", accumulator_bits=44
    ),
    "floats without signs": scaled(
        {"fixed4": 4}, 4, "uint4", 4, pixels=1, post_lanes=4, elements="uesb5_2"
    ),
}


@pytest.mark.parametrize("target", ACCELERATORS.values(), ids=ACCELERATORS)
@pytest.mark.parametrize("seed", range(6))
def test_random_networks(target: Accelerator, seed: int) -> None:
    check(network(seed, target), target, seeds=(None, 1))


def test_longer_vectors_than_the_columns() -> None:
    """Two runs of 4 lanes hold one vector of 8."""
    check(network(2, ACCELERATORS["part of a word"], vector=8), ACCELERATORS["part of a word"])


def test_stages() -> None:
    assert [vector_levels(n) for n in (1, 2, 3, 4, 5, 16)] == [
        (0,), (0, 1), (0, 2), (0, 2), (0, 2, 1), (0, 2, 2),
    ]  # fmt: skip
    assert [column_stages(target.array) for target in ACCELERATORS.values()] == [
        4, 3, 3, 4, 4, 3, 4, 3, 3, 3,
    ]  # fmt: skip
    assert [post_latency(target) for target in ACCELERATORS.values()] == [
        *[13] * 4, 20, 19, 20, 20, 26, 21,
    ]  # fmt: skip
    assert column_stages(preset("small").array) == 2


@pytest.mark.parametrize("target", ACCELERATORS.values(), ids=ACCELERATORS)
def test_file(target: Accelerator) -> None:
    assert parse_accelerator(dump_accelerator(target), "x") == target


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"uint4"', '"uint9"', "array.scaling: integer scale has 1 to 8 bits, not 9"),
        ('"uint4"', '"int4"', "array.scaling: unknown scale format 'int4'"),
        ('"uint4"', "4", "array.scaling.scale must be a string, not 4"),
        ("vector = 4", "vectors = 4", "unknown key array.scaling.vectors"),
        ("vector = 4", "", "key array.scaling.vector is missing"),
        ("vector = 4", "vector = 5", "array: scaling.vector must divide the 8 lanes .* not 5"),
        ("vector = 4", "vector = 128", r"array.scaling: vector must be in 4\.\.64, not 128"),
        (
            "vector = 4",
            'vector = 4\nelements = "fixed9"',
            "array.scaling: elements must have 2 to 8 bits, not fixed9",
        ),
        (
            "vector = 4",
            'vector = 16\nelements = "fixed4"',
            "array: .*vector must divide the 8 lanes wh",
        ),
        (
            "vector = 4",
            "vector = 4\nelements = 4",
            "array.scaling.elements must be a string, not 4",
        ),
        (
            "vector = 4",
            'vector = 4\nelements = "sp2_4"',
            "array.scaling: elements must be of a fixed-point or esb format, not sp2_4",
        ),
        (
            '"uint4"\nvector = 4',
            '"e8m0_5"\nvector = 4\nelements = "fixed4"',
            "array: .*at most 25 are",
        ),
        (
            "vector = 4",
            'vector = 4\nelements = "fixed4"',
            "post_lanes must be a multiple of the 4 lanes",
        ),
    ],
)
def test_file_wrong(old: str, new: str, message: str) -> None:
    text = dump_accelerator(ACCELERATORS["part of a word"])
    assert old in text
    with pytest.raises(CelosiaError, match=f"x: .*{message}"):
        parse_accelerator(text.replace(old, new, 1), "x")


def test_wide_elements_wrong() -> None:
    text = dump_accelerator(ACCELERATORS["MXFP6"]).replace(
        "activation_bits = 8", "activation_bits = 4"
    )
    with pytest.raises(CelosiaError, match="at most the 4 bits of an activation, not esb6_2"):
        parse_accelerator(text, "x")


def test_scaling_of_another_kind_wrong() -> None:
    with pytest.raises(TypeError, match="scaling must be a BlockScaling or None, not 16"):
        ArrayShape(columns=preset("small").array.columns, lanes=8, pixels=1, scaling=16)  # type: ignore[arg-type]


def test_columns_without_scales_wrong() -> None:
    target = ACCELERATORS["part of a word"]
    plain = replace(target, array=replace(target.array, scaling=None))
    with pytest.raises(CelosiaError, match="its weights have scales of uint4, accelerator 'test'"):
        compile_network(network(2, target), plain)


def test_activations_without_scales_wrong() -> None:
    target = ACCELERATORS["both, rounded"]
    plain = replace(target, array=replace(target.array, elements=None))
    with pytest.raises(
        CelosiaError, match=r'have none: .* scale = "uint4", vector = 4,.*"ufixed4"; or q'
    ):
        compile_network(network(2, target), plain)
    with pytest.raises(
        ValueError, match=r"elements must be None without scaling, not Fixed\(bits=4"
    ):
        replace(target.array, scaling=None)
    for changed in (
        replace(target.array, elements=parse_elements("fixed5")),
        replace(target.array, scaling=replace(target.array.scaling, product_bits=None)),
    ):
        with pytest.raises(
            CelosiaError, match=r"with scales uint4:4/6, accel.*; or quantise to what it"
        ):
            compile_network(network(2, target), replace(target, array=changed))


def test_scaled_rows_out_of_order_wrong() -> None:
    target = scaled(
        {"fixed4": 4, "sp2_4": 4}, 8, "uint4", 4, pixels=1, post_lanes=4, elements="fixed4"
    )
    formats = (parse_format("sp2_4"), parse_format("fixed4"))
    mixed = random_network(4, formats, scaling=target.array.scaling, elements=target.array.elements)
    with pytest.raises(CelosiaError, match="columns of several formats put its channels out of or"):
        compile_network(mixed, target)


def test_copies_of_scaled_tensors_wrong() -> None:
    """A residual operand that is a concat is copied, which would make other scales."""
    target = ACCELERATORS["both, rounded"]
    scaling = target.array.scaling
    build = Build()
    given = build.input((4, 2, 2), "fixed4")
    for _ in range(2):
        build.conv(given, 4, k(1), rows=("fixed4",))
    joined = build.concat("top0", "top1")
    build.conv(joined, 8, k(1), rows=("fixed4",), residual=joined)
    for name in ("top0", "top1", joined):
        build.tensors[name] = replace(build.tensors[name], scaling=scaling)
    for index, op in enumerate(build.ops[:2]):
        assert isinstance(op, Conv)
        build.ops[index] = replace(op, requant=replace(op.requant, low=-105, high=105))
    with pytest.raises(
        CelosiaError, match="copy of its residual 'top2', and a copy of a tensor wi"
    ):
        compile_network(build.network(), target)


def test_other_scales_wrong() -> None:
    target = ACCELERATORS["part of a word"]
    message = "is no value of uint4.*set array.scaling.scale to uint6"
    with pytest.raises(CelosiaError, match=message):
        compile_network(network(2, ACCELERATORS["a word"]), target)
    # A narrower format's values are all there.
    small = random_network(
        2, (parse_format("fixed4"),), scaling=BlockScaling(scale=parse_scale("uint2"), vector=4)
    )
    check(small, target)


def test_shorter_vectors_than_the_columns_wrong() -> None:
    target = scaled({"fixed4": 8}, 8, "uint4", 8, pixels=1)
    with pytest.raises(CelosiaError, match=r"8 lanes .* hold channels of several vectors of 4"):
        compile_network(network(2, target, vector=4), target)


def test_permuted_channels_wrong() -> None:
    """Rows that only some columns hold put the next layer's channels out of order."""
    target = scaled({"fixed4": 4, "sp2_4": 4}, 8, "uint4", 4, pixels=1)
    assert target.array.scaling is not None
    scales = WeightScales(scaling=target.array.scaling, values=np.full((4, 2, 1, 1), 3))
    for rows, permuted in ((("sp2_4", "fixed4"), False), (("sp2_4",) * 4 + ("fixed4",) * 4, True)):
        build = Build()
        build.conv(build.conv(build.input((8, 2, 2)), 8, k(1), rows=rows), 4, k(1), rows=rows)
        assert isinstance(build.ops[1], Conv)
        build.ops[1] = replace(build.ops[1], scales=scales)
        if permuted:
            with pytest.raises(CelosiaError, match="columns of one format, which keep channels in"):
                compile_network(build.network(), target)
        else:
            # Columns take turns, as the rows do: each vector keeps its lanes.
            check(build.network(), target)


def test_accumulators_count_scales() -> None:
    target = ACCELERATORS["part of a word"]
    narrow = replace(target, array=replace(target.array, accumulator_bits=16))
    with pytest.raises(CelosiaError, match=r"accumulators reach .* holds in 16 bits"):
        compile_network(network(2, target), narrow)


def test_scaled_inputs_are_not_unfolded() -> None:
    target = ACCELERATORS["a word"]
    ops = [op for op in network(2, target).ops if isinstance(op, Conv) and op.scales is not None]
    assert ops
    program = compile_network(network(2, target), target)
    assert all(p.unfold is None for p in program.placements if p.name == ops[0].input)
    assert np.array_equal(program.placement(ops[0].input).lanes[:3], [0, 1, 2])


@pytest.mark.parametrize(
    ("name", "fmt", "table"),
    [
        (
            "small_vsq",
            "fixed4",
            'scale = "uint4", vector = 16, product_bits = 6, elements = "ufixed4"',
        ),
        ("small_mxfp4", "esb4_1", 'scale = "e8m0_4", vector = 32, elements = "esb4_1"'),
        ("small_nvfp4", "esb4_1", 'scale = "ue4m3", vector = 16, elements = "esb4_1"'),
    ],
)
def test_refusals_name_the_preset(name: str, fmt: str, table: str) -> None:
    target = preset(name)
    known = network(1, target)
    check(known, target)
    with pytest.raises(
        CelosiaError, match=f"take the preset {name}, or give the .*scaling. with {table}; or quant"
    ):
        compile_network(known, preset("small"))
    # Weights alone have scales: the same engine, and no elements.
    weights = random_network(3, (parse_format(fmt),), scaling=target.array.scaling)
    check(weights, target)
    with pytest.raises(CelosiaError, match=f"small' has none: take the preset {name}, or give"):
        compile_network(weights, preset("small"))


def test_no_advice_without_scales_wrong() -> None:
    with pytest.raises(ValueError, match="has no scales of vectors"):
        scaling_advice(random_network(3, (parse_format("fixed4"),)))

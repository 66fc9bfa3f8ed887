from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    End,
    Load,
    Post,
    Stamp,
    Store,
)
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.mapping import (
    OUTPUT_STATIONARY_ARRAY,
    WEIGHT_STATIONARY_ARRAY,
    Dimension,
    LayerMapping,
    Mapping,
    tiled,
)
from celosia.dataflow.memory_layout import BASE_ADDRESS
from celosia.dataflow.tokens import most_tokens
from celosia.models.errors import CelosiaError
from celosia.models.network import Network, Window
from celosia.models.random_network import random_network

from .builders import ACCELERATORS, FORMATS, Build, accelerator, check, k, same


@pytest.mark.parametrize("name", list(ACCELERATORS))
@pytest.mark.parametrize("seed", range(8))
def test_random_networks_equal_the_golden_model(seed: int, name: str) -> None:
    program = check(random_network(seed, FORMATS), ACCELERATORS[name])
    assert max(most_tokens(program.descriptors).values()) <= 100


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 7])
def test_activations_of_any_width(bits: int) -> None:
    target = accelerator({"fixed8": 3, "sp2_4": 3}, 6, 2, post_lanes=3, activation_bits=bits)
    for seed in range(3):
        check(random_network(seed, FORMATS, bits), target, seeds=(None, 3))


def single(*, source: tuple[int, int, int], channels: int, window: Window, groups: int = 1,
           rows: tuple[str, ...] = ("fixed8", "sp2_4")) -> Network:  # fmt: skip
    build = Build()
    build.conv(build.input(source), channels, window, rows=rows, groups=groups)
    return build.network()


@pytest.mark.parametrize("name", list(ACCELERATORS))
@pytest.mark.parametrize(
    "network",
    [
        single(source=(1, 1, 1), channels=1, window=k(1)),
        single(source=(5, 9, 7), channels=13, window=k(1, stride=(3, 2))),
        single(source=(3, 13, 11), channels=9, window=k(7, padding=(3, 3, 3, 3), stride=(2, 2))),
        single(source=(20, 6, 6), channels=8, window=k(3, stride=(5, 4), padding=(1, 1, 2, 2))),
        single(source=(6, 12, 12), channels=4, window=k(3, dilation=(2, 3), stride=(2, 1))),
        single(source=(6, 11, 9), channels=4, window=k(3, dilation=(3, 2), stride=(3, 4))),
        single(source=(4, 9, 5), channels=6, window=Window(kernel=(2, 5), padding=(0, 2, 1, 2))),
        single(source=(12, 7, 7), channels=12, window=same(3), groups=12),
        single(source=(12, 5, 5), channels=24, window=same(3), groups=4),
        single(source=(40, 3, 4), channels=10, window=Window(kernel=(3, 4))),
        single(source=(2, 1, 30), channels=3, window=Window(kernel=(1, 4), stride=(1, 3))),
    ],
    ids=["point", "strided", "first7x7", "gaps", "dilated", "dilated-strided", "oblong",
         "depthwise", "grouped", "linear", "one-row"],
)  # fmt: skip
def test_convolutions(network: Network, name: str) -> None:
    check(network, ACCELERATORS[name], seeds=(None, 5))


def test_average_pooling_keeps_one_weight_word() -> None:
    network = single(source=(8, 16, 16), channels=8, window=k(16), groups=8, rows=("fixed8",))
    conv = network.ops[0]
    average = dataclasses.replace(conv, weights=np.ones_like(conv.weights))  # type: ignore[type-var]
    network = dataclasses.replace(network, ops=(average,))
    program = check(network, ACCELERATORS["8x8x1"])
    loads = [d for d in program.descriptors if isinstance(d, Load) and d.target is Buffer.WEIGHTS]
    assert sum(load.transfer.words for load in loads) <= 2


def residual_network() -> Network:
    build = Build()
    first = build.conv(build.input((8, 6, 6)), 16, same(3), rows=("sp2_4",))
    middle = build.conv(first, 16, same(3), rows=("fixed8", "sp2_4"))
    build.conv(middle, 16, same(1), rows=("fixed4",), residual=first)
    return build.network()


@pytest.mark.parametrize("name", list(ACCELERATORS))
def test_residual_operands(name: str) -> None:
    check(residual_network(), ACCELERATORS[name])


def test_a_residual_that_cannot_share_columns_is_copied() -> None:
    target = accelerator({"sp2_4": 4, "fixed4": 4}, 8, 1)
    build = Build()
    first = build.conv(build.input((8, 6, 6)), 8, same(3), rows=("sp2_4",))
    build.conv(first, 8, same(3), rows=("fixed4",), residual=first)
    program = check(build.network(), target)
    assert program.layers[1].outputs == ("op1/residual", "top1")
    assert [layer.name for layer in program.layers] == ["op0", "op1"]


@pytest.mark.parametrize("name", list(ACCELERATORS))
def test_concat_pools_and_borders(name: str) -> None:
    build = Build()
    source = build.input((6, 9, 9))
    left = build.conv(source, 5, same(3), rows=("sp2_4", "fixed8"))
    right = build.pool(build.conv(source, 3, same(1)), Window(kernel=(3, 3), padding=(1, 1, 1, 1)))
    joined = build.concat(left, right)
    # Both read the signed concat with padding: 0 for one, the lowest code for the other.
    pooled = build.pool(joined, Window(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)))
    wide = build.conv(joined, 7, same(5))
    build.conv(wide, 7, same(1), residual=wide)
    build.conv(pooled, 4, k(2, dilation=(2, 2)))
    program = check(build.network(), ACCELERATORS[name])
    assert "op4/input" in [placement.name for placement in program.placements]
    assert "op3" not in [layer.name for layer in program.layers]


@pytest.mark.parametrize("weights_outer", [False, True])
@pytest.mark.parametrize("array", [OUTPUT_STATIONARY_ARRAY, WEIGHT_STATIONARY_ARRAY])
@pytest.mark.parametrize("tile", [(1, 1, 1, 1), (1, 3, 1, 2), (2, 9, 1, 3), (4, 2, 2, 3)])
def test_mappings_by_hand(
    tile: tuple[int, int, int, int], array: tuple[Dimension, ...], weights_outer: bool
) -> None:
    target = accelerator({"fixed8": 4}, 4, 2, depths=(300, 40, 60, 8, 200, 200), post_lanes=2)
    build = Build()
    first = build.conv(build.input((10, 5, 7)), 6, same(3))
    build.conv(first, 6, same(3), residual=first)
    rows, columns, words, kernel_rows = tile
    pixels = ((Dimension.OY, rows), (Dimension.OX, columns))
    channels, reduction = (
        ((Dimension.K, 1),),
        ((Dimension.C, words), (Dimension.FY, kernel_rows)),
    )
    order = channels + pixels if weights_outer else pixels + channels
    layer = tiled(order + reduction, array)
    mapping = Mapping(layers=(("op0", layer), ("op1", layer)))
    check(build.network(), target, mapping, seeds=(None, 4))


def test_buffers_of_one_tile_only() -> None:
    target = accelerator({"fixed8": 2}, 2, 1, depths=(2, 2, 1, 1, 1, 1), post_lanes=2)
    build = Build()
    first = build.conv(build.input((3, 3, 3)), 2, k(2))
    build.conv(first, 2, k(1), residual=first)
    check(build.network(), target)


def test_program_form() -> None:
    network = residual_network()
    program = compile_network(network, ACCELERATORS["8x8x1"], base_address=0x4000_0000)
    assert program.window == (0x4000_0000, 0x4000_0000 + program.memory_size)
    assert program.program_address % 256 == 0
    assert isinstance(program.descriptors[-1], End)
    assert program.products == network.macs
    beat = program.accelerator.bus.data_bytes
    assert len({layer.stamp for layer in program.layers}) == len(program.layers)
    for layer in program.layers:
        own = program.descriptors[layer.first : layer.stop]
        assert own[-1] == Stamp(address=layer.stamp)
        assert not any(isinstance(d, Stamp) for d in own[:-1])
        assert {type(d) for d in own} == {Load, Compute, Post, Store, Stamp}
        assert layer.stamp % beat == 0
    # The area of the descriptors is left free.
    start = program.program_address - program.base_address
    assert not program.image[start : start + program.program_bytes].any()


def test_compilation_is_deterministic() -> None:
    network = random_network(3, FORMATS)
    one, two = (compile_network(network, ACCELERATORS["7x5x1"]) for _ in range(2))
    assert one.descriptors == two.descriptors
    assert one.layers == two.layers
    np.testing.assert_array_equal(one.image, two.image)


def test_constructed_mapping_equals_the_default() -> None:
    network, target = random_network(5, FORMATS), ACCELERATORS["16x16x2"]
    mapping = default_mapping(network, target)
    default = compile_network(network, target)
    assert compile_network(network, target, mapping).descriptors == default.descriptors
    assert default.base_address == BASE_ADDRESS


def test_base_address_wrong() -> None:
    with pytest.raises(ValueError, match="base_address must be a multiple of 4096, not 100"):
        compile_network(residual_network(), ACCELERATORS["8x8x1"], base_address=100)


def test_address_bits_wrong() -> None:
    with pytest.raises(CelosiaError, match="40 address bits: choose a lower base address"):
        compile_network(residual_network(), ACCELERATORS["8x8x1"], base_address=1 << 40)


def test_mapping_of_unknown_layer_wrong() -> None:
    layer = LayerMapping()
    with pytest.raises(CelosiaError, match="mapping of layer 'nine': the network has no such"):
        compile_network(
            residual_network(), ACCELERATORS["8x8x1"], Mapping(layers=(("nine", layer),))
        )


def test_mapping_with_a_missing_layer_wrong() -> None:
    with pytest.raises(CelosiaError, match="mapping: layer 'op0' is missing"):
        compile_network(residual_network(), ACCELERATORS["8x8x1"], Mapping(layers=()))


def test_mapping_too_large_wrong() -> None:
    network, target = residual_network(), ACCELERATORS["8x8x1"]
    small = dataclasses.replace(target.buffers, accumulators=64)
    target = dataclasses.replace(target, buffers=small)
    mapping = default_mapping(network, target)
    with pytest.raises(CelosiaError, match="layer 'op1': one tile needs 72 words of the acc"):
        compile_network(network, target, mapping.replaced("op1", LayerMapping()))


def test_no_column_for_a_format_wrong() -> None:
    network = single(source=(3, 3, 3), channels=4, window=k(1), rows=("fixed4", "fixed8"))
    with pytest.raises(
        CelosiaError,
        match="layer 'op0', output channel 1: no column of accelerator 'test' multiplies fixed8",
    ):
        compile_network(network, accelerator({"fixed4": 4, "sp2_4": 4}, 4, 1))


def test_activations_too_wide_wrong() -> None:
    network = single(source=(3, 3, 3), channels=4, window=k(1))
    with pytest.raises(CelosiaError, match=r"tensor 'in0' has 8-bit activations, .* stores 4"):
        compile_network(network, accelerator({"fixed8": 4}, 4, 1, activation_bits=4))


def test_accumulator_too_narrow_wrong() -> None:
    network = single(source=(64, 3, 3), channels=4, window=k(3), rows=("fixed8",))
    with pytest.raises(CelosiaError, match=r"layer 'op0', output channel \d: accumulators reach"):
        compile_network(network, accelerator({"fixed8": 4}, 4, 1, accumulator_bits=16))


def test_sums_of_the_longest_layers_wrong() -> None:
    """512 x 7 x 7 products of 8 bits do not fit 24 bits."""
    network = single(source=(512, 7, 7), channels=1, window=k(7), rows=("fixed8",))
    with pytest.raises(CelosiaError, match=r"accumulators reach .* holds in 24 bits: raise"):
        compile_network(network, accelerator({"fixed8": 4}, 4, 1, accumulator_bits=24))


def test_no_tile_fits_wrong() -> None:
    network = single(source=(3, 9, 9), channels=4, window=k(7), rows=("fixed8",))
    target = accelerator({"fixed8": 4}, 4, 1, depths=(6, 64, 16, 8, 8, 8))
    with pytest.raises(
        CelosiaError,
        match=r"layer 'op0': one tile needs 7 words of the activations buffer, .* has 6: 1 are",
    ):
        compile_network(network, target)

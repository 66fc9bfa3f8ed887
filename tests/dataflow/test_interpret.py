from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import (
    End,
    Load,
    Store,
    Token,
    Transfer,
    tokens,
)
from celosia.dataflow.interpret import InterpretError, interpret
from celosia.dataflow.interpret_buffers import field, signed, unpack
from celosia.dataflow.mapping import Dimension, Mapping, tiled
from celosia.dataflow.packing import pack_fields
from celosia.dataflow.program import Program
from celosia.models.golden import evaluate
from celosia.models.network import Network
from celosia.models.random_network import random_inputs

from .builders import ACCELERATORS, Build, accelerator, filled, same


def network() -> Network:
    build = Build()
    first = build.conv(build.input((8, 8, 8)), 12, same(3), rows=("sp2_4", "fixed8"))
    second = build.conv(first, 12, same(3), residual=first)
    build.conv(second, 12, same(1), residual=first)
    return build.network()


def wrong_with(program: Program, seeds: int = 12, net: Network | None = None) -> bool:
    """Whether some order of execution gives a wrong output or blocks."""
    net = net or network()
    inputs = random_inputs(net, 1, 7)
    golden = evaluate(net, inputs)
    image = filled(program, inputs)
    for seed in range(seeds):
        try:
            after = interpret(program, image, seed)
        except InterpretError:
            return True
        for tensor in net.tensors:
            if tensor.name in program.kept:
                continue
            if (program.placement(tensor.name).read(after) != golden[tensor.name][0]).any():
                return True
    return False


def without(program: Program, token: Token) -> Program:
    """Return ``program`` without any wait for, or signal of, ``token``."""
    changed = []
    for descriptor in program.descriptors:
        wait = descriptor.wait - {token}
        if isinstance(descriptor, End):
            changed.append(dataclasses.replace(descriptor, wait=wait))
        else:
            signal = descriptor.signal - {token}
            changed.append(dataclasses.replace(descriptor, wait=wait, signal=signal))
    return dataclasses.replace(program, descriptors=tuple(changed))


def test_a_program_as_compiled_is_right_in_any_order() -> None:
    assert not wrong_with(compile_network(network(), ACCELERATORS["2x4x1"]), seeds=6)


def test_reading_what_was_kept_needs_its_token() -> None:
    build = Build()
    x = build.input((12, 8, 8))
    for _ in range(5):
        x = build.conv(x, 12, same(1), rows=("sp2_4", "fixed8"))
    buffers = dataclasses.replace(
        ACCELERATORS["2x4x1"].buffers, activations=512, activation_banks=2
    )
    target = dataclasses.replace(ACCELERATORS["2x4x1"], buffers=buffers)
    layer = tiled(((Dimension.K, 1),))
    kept = dataclasses.replace(layer, resident=True)
    layers = (("op0", layer), *((f"op{n}", kept) for n in range(1, 5)))
    program = compile_network(build.network(), target, Mapping(layers=layers))
    assert any(Token.STORE_COMPUTE in descriptor.wait for descriptor in program.descriptors)
    assert not wrong_with(program, 8, build.network())
    assert wrong_with(without(program, Token.STORE_COMPUTE), 12, build.network())


@pytest.mark.parametrize("token", tokens(keeps=False))
def test_every_token_is_needed(token: Token) -> None:
    tight = accelerator(
        {"sp2_4": 2, "fixed8": 2}, 4, 1, depths=(60, 40, 24, 8, 40, 40), post_lanes=2
    )
    # Only where buffers are large do loads overtake the stores of the layer before.
    target = ACCELERATORS["2x4x1"] if token is Token.STORE_LOAD else tight
    program = compile_network(network(), target)
    assert any(token in descriptor.wait for descriptor in program.descriptors)
    assert wrong_with(without(program, token))


def altered(program: Program, index: int, **changes: object) -> Program:
    descriptors = list(program.descriptors)
    descriptors[index] = dataclasses.replace(descriptors[index], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(program, descriptors=tuple(descriptors))


def first(program: Program, kind: type) -> int:
    return next(i for i, d in enumerate(program.descriptors) if isinstance(d, kind))


@pytest.fixture(scope="module")
def small() -> Program:
    return compile_network(network(), ACCELERATORS["8x8x1"])


def test_token_never_given_wrong(small: Program) -> None:
    broken = altered(small, 0, wait=frozenset({Token.COMPUTE_LOAD}))
    with pytest.raises(InterpretError, match=r"descriptor 0 .Load. takes a token COMPUTE_LOAD"):
        interpret(broken, small.image)
    with pytest.raises(InterpretError, match="units wait for each other"):
        interpret(broken, small.image, 1)


def test_token_of_another_unit_wrong(small: Program) -> None:
    broken = altered(small, 0, signal=frozenset({Token.POST_STORE}))
    with pytest.raises(InterpretError, match="signals POST_STORE, which is not its own"):
        interpret(broken, small.image)


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        (Transfer(address=0, buffer_address=0, words=1), "address outside 0x10000000"),
        (Transfer(address=0x1000_0004, buffer_address=0, words=1), "does not lie on a beat"),
        (
            Transfer(address=0x1000_0000, buffer_address=1020, words=5),
            "address 1024 of the weights buffer, which has 1024 words",
        ),
    ],
)
def test_transfer_wrong(small: Program, transfer: Transfer, message: str) -> None:
    broken = altered(small, first(small, Load), transfer=transfer)
    with pytest.raises(InterpretError, match=message):
        interpret(broken, small.image)


def test_pixel_lane_wrong(small: Program) -> None:
    loads = [i for i, d in enumerate(small.descriptors) if isinstance(d, Load)]
    index = next(i for i in loads if small.descriptors[i].target.name == "ACTIVATIONS")  # type: ignore[union-attr]
    with pytest.raises(InterpretError, match="there is no pixel lane 1"):
        interpret(altered(small, index, lane=1), small.image)


def test_the_image_is_not_changed(small: Program) -> None:
    before = small.image.copy()
    interpret(small, small.image)
    np.testing.assert_array_equal(before, small.image)
    assert isinstance(small.descriptors[first(small, Store)], Store)


def test_fields_come_back() -> None:
    random = np.random.default_rng(1)
    widths = np.array([32, 18, 18, 18, 6, 3, 1, 40])
    values = random.integers(0, 1 << 62, (50, len(widths))) & ((1 << widths) - 1)
    words = pack_fields(values, widths, 24)
    np.testing.assert_array_equal(unpack(words, widths), values)
    starts = np.cumsum(widths) - widths
    for index, (start, bits) in enumerate(zip(starts, widths, strict=True)):
        np.testing.assert_array_equal(field(words, int(start), int(bits)), values[:, index])
    np.testing.assert_array_equal(signed(np.array([0, 7, 8, 15]), 4), [0, 7, -8, -1])

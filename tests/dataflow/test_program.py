from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import (
    Compute,
    Loop,
    Post,
    Token,
    Transfer,
    Unit,
)
from celosia.dataflow.program import Program

from .builders import ACCELERATORS, Build, same


@pytest.fixture(scope="module")
def program() -> Program:
    build = Build()
    build.conv(build.input((4, 4, 4)), 4, same(3))
    return compile_network(build.network(), ACCELERATORS["8x8x1"])


def test_tokens_know_their_units() -> None:
    assert Token.STORE_LOAD.giver is Unit.STORE
    assert Token.STORE_LOAD.taker is Unit.LOAD


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("words", 0, r"Transfer words must be in 1\.\.65535, not 0"),
        ("n1", 65536, r"Transfer n1 must be in 1\.\.65535, not 65536"),
        ("n3", 256, r"Transfer n3 must be in 1\.\.255, not 256"),
        ("s2", 1 << 31, "Transfer s2 must be in -2147483648"),
        ("d1", -1, r"Transfer d1 must be in 0\.\.65535, not -1"),
        ("address", -8, "Transfer address must be in 0"),
    ],
)
def test_transfer_wrong(field: str, value: int, message: str) -> None:
    good = Transfer(address=0, buffer_address=0, words=1)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(good, **{field: value})
    with pytest.raises(TypeError, match=f"Transfer {field} must be an integer, not 'x'"):
        dataclasses.replace(good, **{field: "x"})  # type: ignore[arg-type]


def test_loops_wrong(program: Program) -> None:
    with pytest.raises(ValueError, match=r"Loop count must be in 1\.\.65535, not 0"):
        Loop(count=0, activations=0, weights=0, accumulators=0, reduction=False)
    good = next(d for d in program.descriptors if isinstance(d, Compute))
    for loops in ((), good.loops[:1] * 7):
        with pytest.raises(ValueError, match=f"Compute loops must be 1 to 6, not {len(loops)}"):
            dataclasses.replace(good, loops=loops)


@pytest.mark.parametrize("field", ["out_x", "groups", "lane_group", "low", "outputs"])
def test_post_wrong(program: Program, field: str) -> None:
    good = next(d for d in program.descriptors if isinstance(d, Post))
    with pytest.raises(ValueError, match=f"Post {field} must be in"):
        dataclasses.replace(good, **{field: -70000})


def test_program_wrong(program: Program) -> None:
    with pytest.raises(TypeError, match="image must be one-dimensional uint8, not int64"):
        dataclasses.replace(program, image=np.zeros(5, np.int64))
    with pytest.raises(ValueError, match="program_address must be a multiple of 256"):
        dataclasses.replace(program, program_address=program.program_address + 1)
    with pytest.raises(ValueError, match="does not fit the image"):
        dataclasses.replace(program, program_address=program.window[1])

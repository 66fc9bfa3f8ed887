"""What posts are said to make is what they make, as the interpreter runs them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.interpret import Machine
from celosia.dataflow.made import Codes, codes_made, word_made
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Program
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.models.golden import evaluate
from celosia.models.random_network import random_inputs, random_network

from .builders import ACCELERATORS, FORMATS, filled

SCALED = preset("small_mxfp4")


def watched(program: Program, image: np.ndarray, made: tuple[Codes, ...]) -> list[np.ndarray]:
    """Interpret ``program``; return each tensor as the output buffer had it after each post."""
    machine = Machine(program, image, np.random.default_rng(0))
    tensors = [np.full(int(np.prod(codes.shape)), -999) for codes in made]
    for index, descriptor in enumerate(program.descriptors):
        machine.execute(descriptor)
        for codes, tensor in zip(made, tensors, strict=True):
            for row in np.flatnonzero(codes.posts == index):
                lanes = np.arange(codes.elements.shape[1])
                lanes = lanes + codes.groups[row] * len(lanes)
                held = machine.buffers.output_scales if codes.is_scales else machine.buffers.outputs
                inside = codes.elements[row] >= 0
                values = codes.placement.decode(held[codes.addresses[row], lanes])
                tensor[codes.elements[row][inside]] = values[inside]
    return [tensor.reshape(codes.shape) for codes, tensor in zip(made, tensors, strict=True)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "target", [*map(ACCELERATORS.get, ("2x4x1", "24x12x3")), SCALED], ids=["2x4x1", "24x12x3", "mx"]
)
def test_every_tensor_is_where_it_is_said_to_be(target: Accelerator, seed: int) -> None:
    array = target.array
    formats = FORMATS if array.scaling is None else tuple(g.format for g in array.columns)
    network = random_network(seed, formats, scaling=array.scaling, elements=array.elements)
    mapping = random_network_mapping(network, target, np.random.default_rng(seed))
    program = compile_network(network, target, replace(mapping, samples=2))
    inputs = random_inputs(network, 2, seed)
    golden = evaluate(network, inputs)
    names = {made.tensor for made in program.made} & golden.keys()
    made = codes_made(program, frozenset(names))
    for codes, tensor in zip(made, watched(program, filled(program, inputs), made), strict=True):
        np.testing.assert_array_equal(tensor, golden[codes.tensor], f"seed {seed}: {codes.tensor}")
        assert not codes.unmade.any()
    assert {codes.tensor for codes in made} >= names


def test_programs_say_it_of_each_post() -> None:
    program = compile_network(random_network(1, FORMATS), ACCELERATORS["2x4x1"])
    with pytest.raises(ValueError, match="made must be of each of"):
        replace(program, made=program.made[1:])
    assert word_made(program, 0, 0) is None

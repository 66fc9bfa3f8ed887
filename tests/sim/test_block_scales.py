"""Per-vector scales on the real engine: values, cycles and counters."""

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import PRESETS
from celosia.dataflow.presets import preset
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.timing import timing
from celosia.models.formats import BlockScaling, parse_format, parse_scale
from celosia.models.golden import evaluate
from celosia.models.random_network import random_inputs, random_network
from celosia.models.recipe import parse_elements
from celosia.sim.check import check
from celosia.sim.run import Simulator


def accelerator(
    base: str,
    fmt: str,
    scale: str,
    vector: int,
    elements: str | None = None,
    product_bits: int | None = None,
    *,
    banks: int = 1,
) -> Accelerator:
    """A preset with columns of one format with scales, and wide accumulators."""
    plain = preset(base)
    group = replace(
        plain.array.columns[0], format=parse_format(fmt), count=plain.array.column_count
    )
    array = replace(
        plain.array,
        columns=(group,),
        accumulator_bits=44,
        scaling=BlockScaling(scale=parse_scale(scale), vector=vector, product_bits=product_bits),
        elements=None if elements is None else parse_elements(elements),
    )
    return replace(plain, array=array, buffers=replace(plain.buffers, activation_banks=banks))


ACCELERATORS = {
    "VS-Quant, activations too": accelerator("small", "fixed4", "uint4", 4, "ufixed4", 6),
    "MXINT8": accelerator("small", "fixed8", "e8m0_3", 4, "fixed8"),
    "MXFP6": accelerator("small", "esb6_2", "e8m0_3", 4, "esb6_2"),
    "NVFP4": accelerator("small", "esb4_1", "ue4m3", 4, "esb4_1", banks=2),
    "MXFP4 weights, a vector in two words": accelerator("small", "esb4_1", "e8m0_3", 16),
    "NVFP4 weights, a vector a word": accelerator("tiny", "esb4_1", "ue4m3", 4),
}


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(
            target, id=name, marks=pytest.mark.campaign if name in ("MXINT8", "MXFP6") else ()
        )
        for name, target in ACCELERATORS.items()
    ],
)
def test_random_networks_are_exact(target: Accelerator) -> None:
    simulator = Simulator(target)
    formats = tuple(group.format for group in target.array.columns)
    for seed in range(10):
        network = random_network(
            seed, formats, scaling=target.array.scaling, elements=target.array.elements
        )
        mapping = None
        if target.buffers.keeps:
            mapping = random_network_mapping(network, target, np.random.default_rng(seed), 2)
        program = compile_network(network, target, mapping)
        inputs = random_inputs(network, 2, seed)
        memory, golden = PRESETS["ddr4"], evaluate(network, inputs)
        result = simulator.run(program, inputs, memory)
        verdict = check(program, result, golden, timing(program, memory))
        assert verdict.passed, f"seed {seed}: {verdict}"
        assert verdict.tensors == len(golden)

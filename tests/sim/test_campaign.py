"""The slow campaign: trained and random networks on many accelerators and memories.

Run by ``./scripts/test -m campaign``; some ten minutes on two cores. Every value of every tensor,
the cycles of every layer and every counter of every sample must be as predicted.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import PRESETS, MemoryModel
from celosia.dataflow.presets import preset
from celosia.dataflow.timing import timing
from celosia.models.archive import export_model
from celosia.models.formats import parse_format
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Network
from celosia.models.quantize import quantize
from celosia.models.random_network import random_inputs, random_network
from celosia.models.recipe import Assignment, Recipe, parse_blocks, parse_elements, parse_mix
from celosia.models.zoo import workload
from celosia.sim.check import check
from celosia.sim.run import Simulator

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

BUFFERS = Buffers(
    activations=1024, weights=512, accumulators=256, constants=64, residuals=512, outputs=512
)


def odd(name: str, columns: str, lanes: int, pixels: int, post: int, bits: int) -> Accelerator:
    """An accelerator no preset has: ``columns`` such as ``sp2_4*4 fixed8*3``."""
    groups = tuple(
        ColumnGroup(format=parse_format(kind), count=int(count))
        for kind, count in (group.split("*") for group in columns.split())
    )
    return Accelerator(
        name=name,
        array=ArrayShape(columns=groups, lanes=lanes, pixels=pixels),
        buffers=BUFFERS,
        bus=Bus(data_bits=bits, burst_beats=16, outstanding=4),
        post_lanes=post,
    )


ODD = (
    odd("c7x5x1", "sp2_4*4 fixed8*3", 5, 1, 1, 64),
    odd("c24x12x3", "sp2_5*10 fixed5*10 fixed8*4", 12, 3, 12, 128),
    odd("c16x16x4", "sp2_4*8 fixed8*8", 16, 4, 8, 256),
    odd("c4x8x2", "fixed8*4", 8, 2, 4, 512),
    odd("c1x1x1", "fixed8*1", 1, 1, 1, 64),
)


@cache
def simulator(accelerator: Accelerator) -> Simulator:
    return Simulator(accelerator)


def assert_exact(
    accelerator: Accelerator, network: Network, inputs: dict[str, np.ndarray], memory: MemoryModel
) -> None:
    program = compile_network(network, accelerator)
    run = simulator(accelerator).run(program, inputs, memory)
    verdict = check(program, run, evaluate(network, inputs), timing(program, memory))
    assert verdict.passed, str(verdict)


@cache
def trained(name: str) -> tuple[Network, dict[str, np.ndarray]]:
    work = workload(name)
    exported = export_model(work.model, (work.example,))
    network = quantize(import_program(exported), work.calibration, Recipe())
    return network, quantise_inputs(network, work.inputs)


@pytest.mark.parametrize("memory", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("accelerator", ["small", "medium", "zcu102"])
@pytest.mark.parametrize("network", ["rnet", "digits"])
def test_trained_networks_on_every_sample(
    network: str, accelerator: str, memory: MemoryModel
) -> None:
    assert_exact(preset(accelerator), *trained(network), memory)


@pytest.mark.parametrize("accelerator", ODD, ids=lambda accelerator: accelerator.name)
def test_random_networks_on_odd_accelerators(accelerator: Accelerator) -> None:
    formats = tuple(group.format for group in accelerator.array.columns)
    odd_memory = replace(PRESETS["slow"], latency=7, bytes_per_cycle=5, outstanding=3)
    for seed in range(40):
        network = random_network(seed, formats)
        inputs = random_inputs(network, 2, seed)
        for memory in (*PRESETS.values(), odd_memory):
            assert_exact(accelerator, network, inputs, memory)


FAMILIES = {
    "fixed": ("fixed2", "fixed3", "fixed4", "fixed5", "fixed6", "fixed7", "fixed8"),
    "sp2": ("sp2_3", "sp2_4", "sp2_5", "sp2_6", "sp2_7", "sp2_8"),
    "pot": ("pot_2", "pot_3", "pot_4", "pot_5", "fixed4", "fixed8"),
    "esb": ("esb3_0", "esb4_0", "esb4_1", "esb5_1", "esb5_2", "esb6_2", "esb6_3", "esb8_4"),
}


@cache
def rnet(weights: str, **fields: Any) -> tuple[Network, dict[str, np.ndarray]]:
    """R-Net with a mix of weights, and three of its inputs."""
    work = workload("rnet")
    recipe = Recipe(weights=parse_mix(weights), **fields)
    exported = export_model(work.model, (work.example,))
    network = quantize(import_program(exported), work.calibration, recipe)
    return network, quantise_inputs(network, work.inputs[:3])


def family(name: str) -> Accelerator:
    """An engine with a column of each format of a family."""
    plain = odd(name, " ".join(f"{kind}*1" for kind in FAMILIES[name]), 8, 2, 1, 128)
    return replace(plain, array=replace(plain.array, accumulator_bits=40))


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in FAMILIES.items() for kind in kinds]
)
def test_rnet_in_every_format(name: str, kind: str) -> None:
    assert_exact(family(name), *rnet(kind), PRESETS["ddr4"])


def test_rnet_in_rmsmps_mix() -> None:
    mix = "pot_4:60,fixed4:35,fixed8:5"
    network, inputs = rnet(mix, assignment=Assignment.HESSIAN)
    assert_exact(family("pot"), network, inputs, PRESETS["ddr4"])


@pytest.mark.parametrize(
    ("kind", "blocks"),
    [
        ("fixed4", "uint4:16"),
        ("fixed8", "e8m0_4:32"),
        ("esb4_1", "e8m0_4:32"),
        ("esb6_2", "e8m0_3:32"),
        ("esb6_3", "e8m0_4:32"),
        ("esb4_1", "ue4m3:16"),
    ],
)
def test_rnet_with_scales_of_vectors(kind: str, blocks: str) -> None:
    scaling = parse_blocks(blocks)
    plain = odd("vectors", f"{kind}*8", 16, 2, 8, 128)
    array = replace(plain.array, accumulator_bits=44, scaling=scaling)
    network, inputs = rnet(kind, blocks=scaling, uneven_vectors=True)
    assert_exact(replace(plain, array=array), network, inputs, PRESETS["ddr4"])


@pytest.mark.parametrize(
    ("kind", "blocks", "elements"),
    [
        ("esb4_1", "e8m0_4:32", "esb4_1"),
        ("esb6_3", "e8m0_4:32", "esb6_3"),
        ("esb6_2", "e8m0_4:32", "esb6_2"),
        ("fixed8", "e8m0_4:32", "fixed8"),
        ("esb4_1", "ue4m3:16", "esb4_1"),
        ("fixed4", "uint4:16/6", "ufixed4"),
    ],
    ids=["MXFP4", "MXFP6 E2M3", "MXFP6 E3M2", "MXINT8", "NVFP4", "VS-Quant"],
)
def test_rnet_with_scales_of_activations(kind: str, blocks: str, elements: str) -> None:
    """Vectors as long as published, in weights and activations."""
    scaling = parse_blocks(blocks)
    lanes = scaling.vector
    plain = odd("vectors", f"{kind}*{lanes}", lanes, 1, lanes, 128)
    array = replace(
        plain.array, accumulator_bits=44, scaling=scaling, elements=parse_elements(elements)
    )
    network, inputs = rnet(
        kind, blocks=scaling, uneven_vectors=True, elements=parse_elements(elements)
    )
    assert_exact(replace(plain, array=array), network, inputs, PRESETS["ddr4"])

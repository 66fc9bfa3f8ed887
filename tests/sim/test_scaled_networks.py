"""Trained networks in vectors with scales of weights and activations, on the real engine."""

from dataclasses import dataclass, replace
from functools import cache

import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import PRESETS
from celosia.dataflow.presets import preset
from celosia.dataflow.timing import timing
from celosia.models.archive import export_model
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Conv
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe, parse_blocks, parse_elements, parse_mix
from celosia.models.zoo import Workload, digits
from celosia.sim.check import check
from celosia.sim.run import Simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """Formats of weights, scales and activations, and the least accuracy on digits."""

    weights: str
    blocks: str
    elements: str
    accuracy: float

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            weights=parse_mix(self.weights),
            blocks=parse_blocks(self.blocks),
            elements=parse_elements(self.elements),
            error_feedback=False,
        )


SCHEMES = {
    "MXFP4": Scheme(weights="esb4_1", blocks="e8m0_4:8", elements="esb4_1", accuracy=0.93),
    "MXFP6 E2M3": Scheme(weights="esb6_3", blocks="e8m0_4:8", elements="esb6_3", accuracy=0.98),
    "MXFP6 E3M2": Scheme(weights="esb6_2", blocks="e8m0_4:8", elements="esb6_2", accuracy=0.98),
    "MXINT8": Scheme(weights="fixed8", blocks="e8m0_4:8", elements="fixed8", accuracy=0.98),
    "NVFP4": Scheme(weights="esb4_1", blocks="ue4m3:8", elements="esb4_1", accuracy=0.97),
    "VS-Quant": Scheme(weights="fixed4", blocks="uint4:8/6", elements="ufixed4", accuracy=0.98),
}
PUBLISHED = {
    "small_mxfp4": replace(SCHEMES["MXFP4"], blocks="e8m0_4:32"),
    "small_nvfp4": replace(SCHEMES["NVFP4"], blocks="ue4m3:16"),
    "small_vsq": replace(SCHEMES["VS-Quant"], blocks="uint4:16/6"),
}
"""Vectors as published, by the preset that has them."""


@cache
def work() -> Workload:
    return digits()


def engine(recipe: Recipe) -> Accelerator:
    small = preset("small")
    columns = (ColumnGroup(format=recipe.weights[0].format, count=8),)
    array = replace(
        small.array, columns=columns, scaling=recipe.blocks, elements=recipe.elements,
        accumulator_bits=44,
    )  # fmt: skip
    return replace(small, name="vectors", array=array, post_lanes=8)


@pytest.mark.parametrize(
    "scheme",
    [
        # One with scales that are integers, one with floats; each builds an engine of its own.
        pytest.param(
            scheme,
            id=name,
            marks=() if name in ("VS-Quant", "NVFP4") else pytest.mark.campaign,
        )
        for name, scheme in SCHEMES.items()
    ],
)
def test_digits_in_vectors(scheme: Scheme) -> None:
    """Vectors of 8, as the engine has lanes: accurate, and exact in every value and cycle."""
    run(scheme, engine(scheme.recipe))


@pytest.mark.campaign
@pytest.mark.parametrize("name", PUBLISHED)
def test_digits_on_presets(name: str) -> None:
    run(PUBLISHED[name], preset(name))


def run(scheme: Scheme, target: Accelerator) -> None:
    """Quantise digits, and run it on ``target``."""
    graph = import_program(export_model(work().model, (work().example,)))
    network = quantize(graph, work().calibration, scheme.recipe)
    assert sum(tensor.scaling is not None for tensor in network.tensors) >= 6
    assert sum(isinstance(op, Conv) and op.scales is not None for op in network.ops) >= 6
    values = evaluate(network, quantise_inputs(network, work().inputs))
    assert work().accuracy({name: values[name] for name in network.outputs}) > scheme.accuracy

    program = compile_network(network, target)
    inputs = quantise_inputs(network, work().inputs[:3])
    result = Simulator(target).run(program, inputs, PRESETS["ddr4"])
    verdict = check(program, result, evaluate(network, inputs), timing(program, PRESETS["ddr4"]))
    assert verdict.passed, str(verdict)

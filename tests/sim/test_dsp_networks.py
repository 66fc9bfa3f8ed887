"""Trained networks on packed DSP columns, and on the mix that the chooser makes of them."""

from functools import cache

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import PRESETS
from celosia.dataflow.mix import Budget, choose_mix, known_costs
from celosia.dataflow.timing import timing
from celosia.models.archive import export_model
from celosia.models.formats import parse_format
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Network
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe, parse_mix
from celosia.models.zoo import workload
from celosia.sim.check import check
from celosia.sim.run import Simulator

LANES, PIXELS = 4, 2
BUFFERS = Buffers(
    activations=512, weights=512, accumulators=256, constants=64, residuals=256, outputs=256
)


def engine(name: str, *columns: ColumnGroup) -> Accelerator:
    array = ArrayShape(columns=columns, lanes=LANES, pixels=PIXELS, accumulator_bits=36)
    return Accelerator(
        name=name, array=array, buffers=BUFFERS, post_lanes=1,
        bus=Bus(data_bits=128, burst_beats=16, outstanding=4),
    )  # fmt: skip


def column(name: str, count: int, circuit: Circuit) -> ColumnGroup:
    return ColumnGroup(format=parse_format(name), count=count, circuit=circuit)


@cache
def trained(name: str, mix: str) -> tuple[Network, dict[str, np.ndarray]]:
    """A network with weights of ``mix``, and two of its inputs."""
    work = workload(name)
    graph = import_program(export_model(work.model, (work.example,)))
    network = quantize(graph, work.calibration, Recipe(weights=parse_mix(mix)))
    return network, quantise_inputs(network, work.inputs[:2])


def assert_exact(accelerator: Accelerator, network: Network, inputs: dict[str, np.ndarray]) -> None:
    program = compile_network(network, accelerator)
    memory = PRESETS["ddr4"]
    run = Simulator(accelerator).run(program, inputs, memory)
    verdict = check(program, run, evaluate(network, inputs), timing(program, memory))
    assert verdict.passed, str(verdict)


PACKED = engine("packed", column("fixed4", 2, Circuit.DSP), column("fixed8", 2, Circuit.DSP))


def chosen() -> tuple[Accelerator, str]:
    """The densest mix of fixed8 and sp2_4 for some blocks and tables, and its weights' shares."""
    costs = known_costs(("fixed8", "sp2_4"), 8)
    mix = choose_mix(costs, Budget(lut=700, dsp=8), granule=LANES * PIXELS)
    circuits = {part.cost.circuit for part in mix.parts}
    assert circuits == {Circuit.DSP, Circuit.LUTS}
    columns = [
        column(part.cost.weights, part.products // (LANES * PIXELS), part.cost.circuit)
        for part in mix.parts
    ]
    shares = [
        f"{part.cost.weights}:{round(100 * part.products / mix.products)}" for part in mix.parts
    ]
    return engine("chosen", *columns), ",".join(shares)


@pytest.mark.parametrize("network", ["digits", pytest.param("rnet", marks=pytest.mark.campaign)])
def test_packed_columns(network: str) -> None:
    """Weights of 4 and 8 bits, all in DSP blocks: values, cycles and counters as predicted."""
    assert_exact(PACKED, *trained(network, "fixed4:60,fixed8:40"))


@pytest.mark.parametrize("network", ["digits", pytest.param("rnet", marks=pytest.mark.campaign)])
def test_the_chosen_mix(network: str) -> None:
    accelerator, shares = chosen()
    assert_exact(accelerator, *trained(network, shares))

"""Trained networks in vectors with scales of weights and activations, on the real engine."""

from dataclasses import replace

from celosia.dataflow.accelerator import ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import PRESETS
from celosia.dataflow.presets import preset
from celosia.dataflow.timing import timing
from celosia.models.archive import export_model
from celosia.models.formats import parse_format
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.network import Conv
from celosia.models.quantize import quantise_inputs, quantize
from celosia.models.recipe import Recipe, parse_blocks, parse_mix
from celosia.models.zoo import digits
from celosia.sim.check import check
from celosia.sim.run import Simulator


def test_digits_in_vectors() -> None:
    """VS-Quant's 4/4/4/4 in vectors of 8: accurate, and exact in every value and cycle."""
    work = digits()
    graph = import_program(export_model(work.model, (work.example,)))
    recipe = Recipe(
        weights=parse_mix("fixed4"), blocks=parse_blocks("uint4:8"), element_bits=4,
        error_feedback=False,
    )  # fmt: skip
    network = quantize(graph, work.calibration, recipe)
    assert sum(tensor.scaling is not None for tensor in network.tensors) >= 6
    assert sum(isinstance(op, Conv) and op.scales is not None for op in network.ops) >= 6
    values = evaluate(network, quantise_inputs(network, work.inputs))
    assert work.accuracy({name: values[name] for name in network.outputs}) > 0.98

    small = preset("small")
    columns = (ColumnGroup(format=parse_format("fixed4"), count=8),)
    array = replace(small.array, columns=columns, scaling=recipe.blocks, element_bits=4)
    target = replace(small, name="vectors", array=array, post_lanes=8)
    program = compile_network(network, target)
    inputs = quantise_inputs(network, work.inputs[:3])
    run = Simulator(target).run(program, inputs, PRESETS["ddr4"])
    verdict = check(program, run, evaluate(network, inputs), timing(program, PRESETS["ddr4"]))
    assert verdict.passed, str(verdict)

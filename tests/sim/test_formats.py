"""A trained network in every format at once, on an engine whose columns have them all."""

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import PRESETS
from celosia.dataflow.timing import timing
from celosia.models.archive import export_model
from celosia.models.formats import parse_format
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Conv
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe, Share
from celosia.models.zoo import workload
from celosia.sim.check import check
from celosia.sim.run import Simulator

FORMATS = tuple(
    parse_format(name)
    for name in ("fixed3", "fixed4", "fixed8", "sp2_4", "sp2_6", "pot_4", "esb4_1", "esb6_2")
)


ENGINE = Accelerator(
    name="every_format",
    array=ArrayShape(
        columns=tuple(ColumnGroup(format=fmt, count=1) for fmt in FORMATS),
        lanes=4,
        pixels=1,
        accumulator_bits=36,
    ),
    buffers=Buffers(
        activations=512, weights=256, accumulators=256, constants=64, residuals=256, outputs=256
    ),
    bus=Bus(data_bits=128, burst_beats=16, outstanding=4),
    post_lanes=4,
)


def test_digits_in_every_format() -> None:
    """Every column is used in each layer; values, cycles and counters are as predicted."""
    work = workload("digits")
    graph = import_program(export_model(work.model, (work.example,)))
    shares = tuple(Share(format=fmt, ratio=1 / len(FORMATS)) for fmt in FORMATS)
    network = quantize(graph, work.calibration, Recipe(weights=shares))
    used = {fmt for op in network.ops if isinstance(op, Conv) for fmt in op.formats}
    assert used == set(FORMATS)
    inputs = quantise_inputs(network, work.inputs[:2])
    program = compile_network(network, ENGINE)
    memory = PRESETS["ddr4"]
    run = Simulator(ENGINE).run(program, inputs, memory)
    verdict = check(program, run, evaluate(network, inputs), timing(program, memory))
    assert verdict.passed, str(verdict)

"""Transposed convolutions and resizes in RTL: every bit, cycle and access as predicted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import PRESETS
from celosia.dataflow.presets import preset
from celosia.dataflow.timing import timing
from celosia.models.archive import export_model
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Network
from celosia.models.networks.catalogue import QUICK
from celosia.models.quantize import quantize
from celosia.models.recipe import parse_mix
from celosia.sim.check import check
from celosia.sim.run import Simulator


class Small(nn.Module):
    """A level down and two up; the first goes into a concat, with a residual sum in between."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(6, 5, 4, 2, 1)
        self.side, self.mix = nn.Conv2d(3, 5, 1), nn.Conv2d(10, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        up = functional.relu6(self.up(torch.relu(self.down(x))))
        y = torch.relu(self.mix(torch.cat([up, self.side(x)], dim=1)))
        wide = functional.interpolate(y, scale_factor=2, mode="bilinear")
        return self.last(wide + functional.interpolate(y, scale_factor=2))


def small(mix: str) -> tuple[Network, dict[str, np.ndarray]]:
    torch.manual_seed(20261121)
    x = torch.randn(3, 3, 4, 6)
    graph = import_program(export_model(Small().eval(), (x[:1],)), trained=False)
    network = quantize(graph, x.numpy(), replace(QUICK, weights=parse_mix(mix)))
    return network, quantise_inputs(network, x.numpy()[:2])


@pytest.mark.parametrize(("name", "mix"), [("tiny", "fixed8"), ("small", "sp2_4:60,fixed4:40")])
def test_in_rtl(name: str, mix: str) -> None:
    network, inputs = small(mix)
    engine, memory = preset(name), PRESETS["ddr4"]
    program = compile_network(network, engine)
    run = Simulator(engine).run(program, inputs, memory)
    verdict = check(program, run, evaluate(network, inputs), timing(program, memory))
    assert verdict.passed, str(verdict)
    # Parts lie in the memory of what they are parts of, which is a range of the concat's.
    phases = [op.output for op in network.ops if op.name.startswith("up._")]
    spreads = {program.placement(phase).spread for phase in phases}
    assert (len(phases), spreads) == (4, {2})

"""A network on a small engine, for the driver on every transport."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Program
from celosia.fpga.deploy import deploy
from celosia.fpga.driver import Accelerator, Deployment, Transport
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.random_network import random_inputs, random_network
from celosia.sim.run import Simulator

SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A program, inputs of some samples, and what the golden model makes of them."""

    program: Program
    deployment: Deployment
    inputs: dict[str, np.ndarray]
    golden: dict[str, np.ndarray]

    def is_right(self, outputs: dict[str, np.ndarray]) -> bool:
        """Return whether outputs are the golden model's, and no others are there."""
        return set(outputs) == set(self.program.outputs) and all(
            np.array_equal(codes, self.golden[name]) for name, codes in outputs.items()
        )


@functools.cache
def case(name: str = "tiny", seed: int = 2) -> Case:
    """Return a random network on preset ``name``."""
    accelerator = preset(name)
    network = random_network(seed, tuple(group.format for group in accelerator.array.columns))
    program = compile_network(network, accelerator)
    inputs = random_inputs(network, seed=11, samples=SAMPLES)
    return Case(
        program=program,
        deployment=deploy(program),
        inputs=inputs,
        golden=evaluate(network, inputs),
    )


@functools.cache
def simulator() -> Simulator:
    """Return the simulator of the engine that :func:`case` is for."""
    return Simulator(preset("tiny"))


def user_script(transport: Transport, what: Case, *, buffers: int = 1) -> dict[str, int]:
    """Do what a user does: the same on a board and in simulation. Return the counters."""
    with Accelerator(transport, seconds=60) as engine:
        engine.load(what.deployment, buffers=buffers)
        assert what.is_right(engine.run(what.inputs))
        first = {name: codes[:1] for name, codes in what.inputs.items()}
        again = engine.run(first)  # without loading
        assert all(np.array_equal(codes, what.golden[name][:1]) for name, codes in again.items())
        counters = engine.counters()
        assert counters["cycles"] == engine.cycles[-1]
        layers = engine.layer_cycles()
        assert list(layers) == [layer.name for layer in what.program.layers]
        assert all(cycles > 0 for cycles in layers.values())
    for call in (
        lambda: engine.load(what.deployment),
        lambda: engine.run(what.inputs),
        engine.counters,
        engine.layer_cycles,
        engine.clear,
    ):
        with pytest.raises(CelosiaError, match="was closed: make another Accelerator, with a new"):
            call()
    return counters

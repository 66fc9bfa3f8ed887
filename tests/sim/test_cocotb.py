"""The engine between cocotbext-axi's models, with pauses on every channel of both ports."""

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.presets import preset
from celosia.models.errors import CelosiaError, MissingToolError
from celosia.models.golden import evaluate
from celosia.models.random_network import random_network
from celosia.sim.cocotb import run as launcher
from celosia.sim.cocotb.bench import stalls
from celosia.sim.cocotb.run import STALL_COUNTERS, run_bench
from celosia.sim.run import Simulator

ACCELERATOR = preset("tiny")
FORMATS = tuple(group.format for group in ACCELERATOR.array.columns)


@pytest.mark.parametrize(("network_seed", "stall"), [(0, 0.0), (1, 0.3), (3, 0.6), (5, 0.9)])
def test_bus_that_nobody_here_wrote_agrees(network_seed: int, stall: float) -> None:
    network = random_network(network_seed, FORMATS)
    program = compile_network(network, ACCELERATOR)
    rng = np.random.default_rng(network_seed)
    tensors = [network.tensor(name) for name in network.inputs]
    inputs = {t.name: rng.integers(t.format.low, t.format.high + 1, (1, *t.shape)) for t in tensors}
    bench = run_bench(ACCELERATOR, program, inputs, stall=stall, seed=network_seed)
    expected = evaluate(network, inputs)
    assert expected.keys() - bench.tensors.keys() == set(program.kept)
    for name in bench.tensors.keys() & expected.keys():
        assert np.array_equal(bench.tensors[name], expected[name]), name
    native = Simulator(ACCELERATOR).run(program, inputs).timing(0)
    for counter, value in bench.counters.items():
        if counter not in STALL_COUNTERS:
            assert value == native.counters[counter], counter


def test_pauses_are_bursty_and_repeatable() -> None:
    source, again = stalls(3, 0.5), stalls(3, 0.5)
    pauses = [next(source) for _ in range(2000)]
    assert pauses == [next(again) for _ in range(2000)]
    assert 0.3 < np.mean(pauses) < 0.7


def test_failing_bench_shows_why() -> None:
    network = random_network(0, FORMATS)
    inputs = {name: np.zeros((1, *network.tensor(name).shape), np.int64) for name in network.inputs}
    program = compile_network(network, ACCELERATOR)
    with pytest.raises(CelosiaError, match="no interrupt within 50 cycles"):
        run_bench(ACCELERATOR, program, inputs, cycle_limit=50)
    with pytest.raises(ValueError, match=r"^stall must be 0 to 0.9, not 1$"):
        run_bench(ACCELERATOR, program, inputs, stall=1)
    twice = {name: np.repeat(codes, 2, 0) for name, codes in inputs.items()}
    with pytest.raises(CelosiaError, match="runs one start"):
        run_bench(ACCELERATOR, program, twice)


@pytest.mark.parametrize("tool", ["make", "cocotb"])
def test_missing_tool_is_named(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if tool == "make":
        monkeypatch.setattr("shutil.which", lambda name: None if name == "make" else f"/{name}")
    else:
        monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingToolError, match=rf"{tool} .*[Ii]nstall"):
        launcher.build_bench(ACCELERATOR)

"""Whole programs on the real engine: values, cycles and counters; refusals; stops."""

import math
import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import PRESETS, MemoryModel
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Program
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.network import Conv, Network
from celosia.models.random_network import random_network, with_zeros
from celosia.rtl.image import program_image
from celosia.sim.check import check
from celosia.sim.driver import Driver, HangError, Interrupted
from celosia.sim.run import Simulator, _Work, run
from celosia.sim.seen import Taps

ACCELERATOR = preset("tiny")
FORMATS = tuple(group.format for group in ACCELERATOR.array.columns)


def sample_inputs(network: Network, samples: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(
            network.tensor(name).format.low,
            network.tensor(name).format.high + 1,
            (samples, *network.tensor(name).shape),
        )
        for name in network.inputs
    }


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(ACCELERATOR)


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network(1, FORMATS)


@pytest.fixture(scope="module")
def program(network: Network) -> Program:
    return compile_network(network, ACCELERATOR)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("memory", PRESETS.values(), ids=PRESETS)
def test_random_networks_are_exact(simulator: Simulator, seed: int, memory: MemoryModel) -> None:
    network = random_network(seed, FORMATS)
    program = compile_network(network, ACCELERATOR)
    inputs = sample_inputs(network, 2, seed)
    result = simulator.run(program, inputs, memory)
    verdict = check(program, result, evaluate(network, inputs), timing(program, memory))
    assert verdict.passed, f"seed {seed}: {verdict}"
    assert verdict.tensors == len(network.tensors)
    assert verdict.unseen == ()
    values = 2 * sum(math.prod(tensor.shape) for tensor in network.tensors)
    assert verdict.elements + verdict.unmade == values


@pytest.mark.parametrize("seed", range(6))
def test_zeros_of_any_code_are_exact(simulator: Simulator, seed: int) -> None:
    network = with_zeros(random_network(seed, FORMATS), seed)
    program = compile_network(network, ACCELERATOR)
    inputs = sample_inputs(network, 2, seed)
    memory = PRESETS["ddr4"]
    result = simulator.run(program, inputs, memory)
    golden = evaluate(network, inputs)
    verdict = check(program, result, golden, timing(program, memory))
    assert verdict.passed, f"seed {seed}: {verdict}"
    # The same network with other padding computes something else, so the border was read.
    plain = evaluate(random_network(seed, FORMATS), inputs)
    padded = any(any(op.window.padding) for op in network.ops if isinstance(op, Conv))
    assert padded == any((golden[name] != plain[name]).any() for name in golden)


def test_order_and_workers_change_nothing(
    simulator: Simulator, network: Network, program: Program
) -> None:
    inputs = sample_inputs(network, 5, 3)
    whole = simulator.run(program, inputs, workers=2)
    alone = simulator.run(program, {k: v[3:4] for k, v in inputs.items()}, workers=1)
    for name, codes in alone.tensors.items():
        assert np.array_equal(codes[0], whole.tensors[name][3])
    assert alone.timing(0) == whole.timing(3)
    assert whole.samples == 5


def test_function_builds_and_runs(network: Network, program: Program) -> None:
    inputs = sample_inputs(network, 1, 4)
    result = run(ACCELERATOR, program, inputs)
    assert np.array_equal(
        result.tensors[network.outputs[0]], evaluate(network, inputs)[network.outputs[0]]
    )


def test_progress_counts_samples(simulator: Simulator, network: Network, program: Program) -> None:
    seen: list[tuple[int, int]] = []
    simulator.run(
        program, sample_inputs(network, 3, 0), progress=lambda *step: seen.append(step), workers=2
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_image_ends_with_the_descriptors(program: Program) -> None:
    image = program_image(program)
    start = program.program_address - program.base_address
    assert np.array_equal(image[:start], program.image[:start])
    assert image[start] & 15  # an opcode
    assert image.shape == program.image.shape


def test_limit_is_a_hang(simulator: Simulator, network: Network, program: Program) -> None:
    with pytest.raises(HangError, match="did not end within 100 cycles"):
        simulator.run(program, sample_inputs(network, 1, 0), cycle_limit=100)


def test_other_accelerator_is_refused(
    simulator: Simulator, network: Network, program: Program
) -> None:
    other = replace(program, accelerator=replace(ACCELERATOR, name="other"))
    with pytest.raises(CelosiaError, match=r"for accelerator 'other', .* of 'tiny': compile it"):
        simulator.run(other, sample_inputs(network, 1, 0))


def test_inputs_wrong(simulator: Simulator, network: Network, program: Program) -> None:
    good = sample_inputs(network, 2, 0)
    name = network.inputs[0]
    high = network.tensor(name).format.high
    wrong = [
        ({}, f"has the inputs {name}.*, not none"),
        ({**good, "extra": good[name]}, "has the inputs"),
        ({**good, name: good[name][0]}, rf"input '{name}' must have shape \(N, "),
        ({**good, name: good[name][:0]}, f"input '{name}' holds no sample: give at least one"),
        ({**good, name: good[name] * 1.0}, f"input '{name}' must hold codes, .* not float64"),
        ({**good, name: good[name] * 0 + high + 1}, f"from .* to {high}, not {high + 1} to"),
    ]
    for inputs, message in wrong:
        with pytest.raises(CelosiaError, match=message):
            simulator.run(program, inputs)


def test_different_sample_counts_are_refused(simulator: Simulator) -> None:
    network = next(
        made for seed in range(99) if len((made := random_network(seed, FORMATS)).inputs) > 1
    )
    inputs = sample_inputs(network, 2, 0)
    inputs[network.inputs[1]] = inputs[network.inputs[1]][:1]
    with pytest.raises(CelosiaError, match=r"different numbers of samples: \[1, 2\]"):
        simulator.run(compile_network(network, ACCELERATOR), inputs)


def test_ctrl_c_ends_all_threads(simulator: Simulator, network: Network, program: Program) -> None:
    before = set(threading.enumerate())

    def stop_at_two(done: int, _samples: int) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        simulator.run(program, sample_inputs(network, 5000, 0), progress=stop_at_two)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)  # one that Ctrl-C found half started is not waited for
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("broken", [0, 1])
def test_error_ends_all_threads(
    simulator: Simulator,
    network: Network,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    broken: int,
) -> None:
    """Whichever thread it falls into."""
    begun: list[int] = []
    sample_of = _Work._start

    def fail(
        work: _Work, driver: Driver, image: np.ndarray, sample: int, taps: Taps | None
    ) -> None:
        begun.append(sample)
        if sample == broken:
            raise CelosiaError(f"sample {sample} is broken")
        sample_of(work, driver, image, sample, taps)

    monkeypatch.setattr(_Work, "_start", fail)
    with pytest.raises(CelosiaError, match=f"sample {broken} is broken"):
        simulator.run(program, sample_inputs(network, 3000, 0), workers=2)
    assert len(begun) < 2000


def test_stop_in_the_middle_of_a_sample(simulator: Simulator, program: Program) -> None:
    driver = simulator.driver()
    stop = threading.Event()
    stop.set()
    with driver.model, pytest.raises(Interrupted):
        driver.wait(10**9, stop)

"""Engines whose memory is striped over several ports: as exact, and as robust, as with one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.eie.presets import TINY as EIE
from celosia.dataflow.memory import DDR4, PRESETS, SLOW, MemoryModel
from celosia.dataflow.presets import preset
from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.interpret import interpret
from celosia.dataflow.sparch.presets import TINY as SPARCH
from celosia.dataflow.sparch.timing import sparch_timing
from celosia.dataflow.timing import timing
from celosia.models.csr import from_scipy
from celosia.models.formats import Codebook
from celosia.models.golden import evaluate
from celosia.models.network import Network
from celosia.models.random_network import random_network
from celosia.rtl.image import program_image
from celosia.rtl.registers import Cause
from celosia.scripts.simulate import simulate
from celosia.sim.check import check
from celosia.sim.cocotb.run import STALL_COUNTERS, run_bench
from celosia.sim.driver import EngineError
from celosia.sim.product import run_product
from celosia.sim.run import Simulator, write_inputs

from .test_eie import inputs_of, network_of
from .test_sparch import same

SEED = 77


def striped(ports: int) -> Accelerator:
    """Return the smallest engine with ports of 32 bits."""
    tiny = preset("tiny")
    bus = replace(tiny.bus, data_bits=max(64, 32 * ports), ports=ports)
    return replace(tiny, name=f"tiny_{ports}", bus=bus)


FORMATS = tuple(group.format for group in striped(2).array.columns)


def sample(network: Network, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tensors = [network.tensor(name) for name in network.inputs]
    return {t.name: rng.integers(t.format.low, t.format.high + 1, (1, *t.shape)) for t in tensors}


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(striped(2))


def is_exact(simulator: Simulator, seed: int, memory: MemoryModel) -> int:
    """Compare everything of one network; return the cycles."""
    accelerator = simulator.accelerator
    assert isinstance(accelerator, Accelerator)
    network = random_network(seed, FORMATS)
    program = compile_network(network, accelerator)
    inputs = sample(network, seed)
    run = simulator.run(program, inputs, memory)
    verdict = check(program, run, evaluate(network, inputs), timing(program, memory))
    assert verdict.passed, f"seed {seed}: {verdict}"
    return int(run.cycles[0])


@pytest.mark.parametrize("memory", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("seed", range(4))
def test_predicted_is_measured(simulator: Simulator, seed: int, memory: MemoryModel) -> None:
    is_exact(simulator, seed, memory)


def test_ports_add_up(simulator: Simulator) -> None:
    """Memories of 3 bytes a cycle behind two ports are one of 6 behind a port twice as wide."""
    both = is_exact(simulator, 1, SLOW)
    one = compile_network(random_network(1, FORMATS), preset("tiny"))
    assert both == timing(one, replace(SLOW, bytes_per_cycle=6)).cycles
    assert both < timing(one, SLOW).cycles


@pytest.mark.parametrize("slice_", [0, 1])
@pytest.mark.parametrize("cause", [Cause.READ_RESPONSE, Cause.WRITE_RESPONSE])
def test_error_behind_one_port(simulator: Simulator, slice_: int, cause: Cause) -> None:
    """The engine stops and says where, in its own addresses; afterwards it runs again."""
    network = random_network(2, FORMATS)
    program = compile_network(network, striped(2))
    inputs = sample(network, 2)
    image = program_image(program)
    write_inputs(program, image, inputs, 0)
    fresh = image.copy()
    names = network.inputs if cause is Cause.READ_RESPONSE else network.outputs
    place = program.placement(names[0])
    driver = simulator.driver()
    with driver.model as model:
        model.attach(image, program.base_address)
        driver.configure(program)
        model.start_memory(DDR4)
        model.inject(place.address + 4 * slice_)
        driver.start()
        with pytest.raises(EngineError) as caught:
            driver.wait(200_000)
        assert caught.value.cause is cause
        assert caught.value.address <= place.address < caught.value.address + 4096
        model.clear_faults()
        driver.clear()
        image[:] = fresh
        driver.start()
        driver.wait(200_000)
    for name in network.outputs:
        codes = program.placement(name).read(image)
        assert np.array_equal(codes, evaluate(network, inputs)[name][0])


def test_stripe_in_the_wrong_place(simulator: Simulator) -> None:
    """Each port adds its own base: where one is wrong, what it reads is nowhere."""
    program = compile_network(random_network(2, FORMATS), striped(2))
    driver = simulator.driver()
    with driver.model as model:
        model.attach(program_image(program), program.base_address)
        driver.configure(program)
        driver.write_pair("stripe1_base", 0)
        driver.start()
        with pytest.raises(EngineError, match="read response"):
            driver.wait(10_000)


def test_ports_that_stall_apart_change_nothing() -> None:
    """Four memories that nobody here wrote, each with pauses of its own on every channel."""
    accelerator = striped(4)
    network = random_network(3, FORMATS)
    program = compile_network(network, accelerator)
    inputs = sample(network, 3)
    expected, counters = evaluate(network, inputs), timing(program, DDR4).counters
    bench = run_bench(accelerator, program, inputs, stall=0.5, seed=5)
    assert expected.keys() - bench.tensors.keys() == set(program.kept)
    for name in bench.tensors.keys() & expected.keys():
        assert np.array_equal(bench.tensors[name], expected[name]), name
    for counter, value in bench.counters.items():
        if counter not in STALL_COUNTERS:
            assert value == counters[counter], counter


@pytest.mark.campaign
def test_four_ports() -> None:
    simulator = Simulator(striped(4))
    for seed in range(8):
        for memory in PRESETS.values():
            is_exact(simulator, seed, memory)


@pytest.mark.campaign
def test_sparse_engines() -> None:
    """Every engine has its ports from the same place: the others' are as exact."""
    rng = np.random.default_rng(SEED)
    eie = replace(EIE, name="eie_2", bus=replace(EIE.bus, ports=2))
    fmt = Codebook.of(rng.integers(-60, 60, 15), 4)
    network = network_of(rng, (40, 30, 20), fmt, 0.3)
    verdict = simulate(network, eie, inputs_of(rng, network, 1, 0.5), SLOW)
    assert verdict.holds, verdict.verdict_line()
    sparch = replace(SPARCH, name="sparch_4", bus=replace(SPARCH.bus, ports=4))
    dense = rng.integers(-9, 10, (30, 30)) * (rng.random((30, 30)) < 0.2)
    matrix = from_scipy(scipy.sparse.csr_matrix(dense))
    program = compile_product(matrix, matrix, sparch)
    run = run_product(Simulator(sparch), program, SLOW)
    assert same(run.output, interpret(program).output)
    assert run.cycles == sparch_timing(program, SLOW).cycles

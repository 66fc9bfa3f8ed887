"""The EIE engine in RTL: networks bit for bit, cycle for cycle, and what is broken on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.eie.accelerator import PeArray, Widths
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.descriptors import Load, Target
from celosia.dataflow.eie.presets import TINY
from celosia.dataflow.eie.program import EieCounter
from celosia.dataflow.memory import DDR4, IDEAL, SLOW
from celosia.models.formats import Codebook, Fixed
from celosia.models.golden import evaluate
from celosia.models.network import Network, Tensor
from celosia.models.sparse import SparseLinear, SparseMatrix
from celosia.rtl.image import program_image
from celosia.rtl.registers import Cause
from celosia.scripts.simulate import simulate
from celosia.sim.cocotb.run import run_bench
from celosia.sim.driver import EngineError
from celosia.sim.run import Simulator, write_inputs

SEED = 800
STREAMED = replace(TINY.memories, entries=1024, pointers=256, biases=32, accumulators=16)
ENGINES = {
    "tiny": TINY,
    "streamed": replace(
        TINY, name="streamed", memories=replace(STREAMED, biases=16, accumulators=32)
    ),
    "channels": replace(
        TINY, name="channels", memories=STREAMED,
        array=PeArray(pes=4, queue=2, channels=2, skip_empty=True),
    ),
    "plain_weights": replace(
        TINY, name="plain_weights", array=PeArray(pes=6, queue=4, channels=2),
        widths=Widths(weight=8, codebook=False, activation=8, accumulator=32, index=3),
        bus=Bus(data_bits=128),
    ),
    "odd": replace(
        TINY, name="odd", array=PeArray(pes=3, queue=1, skip_empty=True), bus=Bus(data_bits=128)
    ),
    # Two levels of buffers in front of what takes the first nonzero of all, the last not full.
    "many": replace(
        TINY, name="many", array=PeArray(pes=18, queue=3),
        memories=replace(TINY.memories, activations=16, accumulators=16),
    ),
    # Windows found late, without buffers: wide ones, three in a file, or many of them. A word of
    # activations takes three beats.
    "wide_windows": replace(
        TINY, name="wide_windows", array=PeArray(pes=12, queue=4, channels=4, skip_empty=True),
        memories=replace(TINY.memories, activations=96, accumulators=96, window=32),
    ),
    "many_windows": replace(
        TINY, name="many_windows",
        memories=replace(TINY.memories, activations=80, accumulators=40, window=2),
    ),
}  # fmt: skip


def network_of(rng, sizes, fmt, density, *, low=0, bits=8, branch=False):
    """Layers one after another; with ``branch`` the last reads the first's output."""
    code = Fixed(bits=bits, signed=low < 0)
    ops = []
    for i in range(len(sizes) - 1):
        last = branch and i == len(sizes) - 2
        source = 1 if last else i
        shape = sizes[i + 1], sizes[source]
        dense = rng.choice(fmt.values, shape) * (rng.random(shape) < density)
        ops.append(
            SparseLinear(
                name=f"fc{i}", input=f"t{source}", output=f"t{i + 1}",
                matrix=SparseMatrix.from_dense(dense), format=fmt,
                bias=rng.integers(-200, 200, shape[0]), shift=int(rng.integers(0, 9)),
                low=low and code.low, high=code.high,
            )
        )  # fmt: skip
    tensors = tuple(
        Tensor(name=f"t{i}", shape=(size, 1, 1), format=code, scale=1.0)
        for i, size in enumerate(sizes)
    )
    return Network(
        name="sparse", tensors=tensors, inputs=("t0",), outputs=(tensors[-1].name,), ops=tuple(ops)
    )


def inputs_of(rng, network, samples, density):
    shape = (samples, *network.tensor("t0").shape)
    fmt = network.tensor("t0").format
    return {"t0": rng.integers(fmt.low, fmt.high + 1, shape) * (rng.random(shape) < density)}


@pytest.mark.parametrize("name", ENGINES)
def test_networks_bit_for_bit_and_cycle_for_cycle(name):
    engine, rng = ENGINES[name], np.random.default_rng(SEED)
    for memory, density, met, low in (
        (DDR4, 0.2, 0.5, 0), (SLOW, 0.05, 1.0, -1), (IDEAL, 0.5, 0.1, 0),
    ):  # fmt: skip
        fmt = Codebook.of(rng.integers(-60, 60, 15), 4) if engine.widths.codebook else Fixed(bits=8)
        sizes = rng.integers(20, 170, 4).tolist()
        bits = 7 if low == 0 else 8
        network = network_of(rng, sizes, fmt, density, low=low, bits=bits, branch=low < 0)
        run = simulate(network, engine, inputs_of(rng, network, 2, met), memory)
        assert run.holds, run.verdict_line()


def test_weights_of_fewer_bits_than_the_engine_has_keep_their_signs():
    rng = np.random.default_rng(SEED + 7)
    engine = ENGINES["plain_weights"]
    network = network_of(rng, (40, 30, 20), Fixed(bits=2), 0.3, low=-1)
    run = simulate(network, engine, inputs_of(rng, network, 2, 0.6), IDEAL)
    assert run.holds, run.verdict_line()


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_empty_and_full_matrices_and_vectors(density):
    rng = np.random.default_rng(SEED + 1)
    fmt = Codebook.of(rng.integers(-60, 60, 15), 4)
    network = network_of(rng, (40, 30, 20), fmt, density)
    for met in (0.0, 1.0):
        run = simulate(network, TINY, inputs_of(rng, network, 1, met), IDEAL)
        assert run.holds, run.verdict_line()


def queue_cycles(counts, columns, ends, depth):
    """The paper's queues as a plain loop: cycles from a run's acceptance to idle PEs' report.

    Each window's flags take a cycle to load, when the nonzeros of the one before are all taken.
    """
    pes = len(counts)
    free, done = [0] * pes, []
    taken, cycle, window = 1, 0, 0
    for number, column in enumerate(columns):
        while number >= ends[window]:
            window += 1
            taken += 1
        found = taken + 1
        # Two cycles from a nonzero to its broadcast, unless the one before stands in the way.
        cycle = max(found + 2, cycle + 1)
        if number >= depth:
            cycle = max(cycle, max(done[number - depth]) + 1)
        taken = max(found, cycle - 2)
        done.append([])
        for k in range(pes):
            begin = max(cycle + 2, free[k])
            free[k] = begin + max(1, int(counts[k, column]))
            done[-1].append(free[k] - 1)
    return max(max(free) + 1, taken + 1)


def test_the_papers_queue_model_on_a_hundred_cases():
    """RTL cycles of a run equal a plain loop written from the paper's description."""
    rng = np.random.default_rng(SEED + 2)
    simulator = Simulator(TINY)
    for _ in range(100):
        columns, rows = rng.integers(1, 60), rng.integers(1, 60)
        fmt = Codebook.of(rng.integers(-60, 60, 15), 4)
        network = network_of(rng, (int(columns), int(rows)), fmt, float(rng.random()))
        inputs = inputs_of(rng, network, 1, float(rng.random()))
        program = compile_eie(network, TINY)
        run = simulator.run(program, inputs, IDEAL)
        assert (run.tensors["t1"] == evaluate(network, inputs)["t1"]).all()
        (tile,) = program.tiles
        met = np.flatnonzero(inputs["t0"].reshape(-1))
        quiet = queue_cycles(tile.counts, met, [len(met)], 8)
        # Accumulators are written 3 cycles later, drained a row a cycle; the last is done in 3.
        expected = quiet + 2 + -(-int(rows) // 4) + 3
        assert run.counters[EieCounter.RUN_CYCLES][0] == expected


def small_case(seed=SEED + 3):
    rng = np.random.default_rng(seed)
    network = network_of(rng, (50, 40, 20), Codebook.of(rng.integers(-60, 60, 15), 4), 0.4)
    return compile_eie(network, TINY), inputs_of(rng, network, 1, 0.8), network


def ends_with(change, address=None, faulty=None):
    """Run with a memory image that ``change`` broke; return the error."""
    program, inputs, network = small_case()
    image = program_image(program)
    write_inputs(program, image, inputs, 0)
    change(program, image)
    driver = Simulator(TINY).driver()
    with driver.model as model:
        before = image.copy()
        model.attach(image, program.base_address)
        driver.configure(program)
        model.start_memory(DDR4)
        if faulty is not None:
            model.inject(faulty(program))
        driver.start()
        with pytest.raises(EngineError) as caught:
            driver.wait(100_000)
        model.clear_faults()
        # Stopped cleanly: cleared, it runs the sound program.
        image[:] = program_image(program)
        write_inputs(program, image, inputs, 0)
        driver.clear()
        driver.start()
        driver.wait(100_000)
        golden = evaluate(network, inputs)
        for name in ("t1", "t2"):
            assert (program.placement(name).read(image) == golden[name][0]).all()
    assert before.size == image.size
    return caught.value


def first_load(program, target):
    return next(d for d in program.descriptors if isinstance(d, Load) and d.target is target)


def overwrite(target, make):
    def change(program, image):
        load = first_load(program, target)
        start = load.address - program.base_address
        size = load.beats * program.accelerator.bus.data_bytes
        image[start : start + size] = make(image[start : start + size])

    return change


@pytest.mark.parametrize(
    ("target", "make", "cause"),
    [
        (Target.POINTERS, lambda raw: raw[::-1].copy(), Cause.CORRUPT_POINTER),
        (Target.POINTERS, lambda raw: np.full_like(raw, 0xFF), Cause.CORRUPT_POINTER),
        (Target.ENTRIES, lambda raw: np.full_like(raw, 0xF1), Cause.CORRUPT_INDEX),
        (Target.ENTRIES, lambda raw: raw | 0x80, Cause.CORRUPT_INDEX),
    ],
)
def test_corrupt_data_in_memory_stops_the_engine(target, make, cause):
    error = ends_with(overwrite(target, make))
    assert error.cause is cause


def test_random_rubbish_ends_one_way_or_another():
    """Compressed data of random bytes: the run ends, with a result or a cause, never a hang."""
    rng = np.random.default_rng(SEED + 4)
    program, inputs, _ = small_case()
    simulator = Simulator(TINY)
    causes = set()
    for _ in range(30):
        image = program_image(program)
        write_inputs(program, image, inputs, 0)
        for descriptor in program.descriptors:
            if isinstance(descriptor, Load) and rng.random() < 0.5:
                start = descriptor.address - program.base_address
                size = descriptor.beats * 8
                image[start : start + size] = rng.integers(0, 256, size)
        driver = simulator.driver()
        with driver.model as model:
            model.attach(image, program.base_address)
            driver.configure(program)
            model.start_memory(IDEAL)
            driver.start()
            try:
                driver.wait(200_000)
            except EngineError as error:
                causes.add(error.cause)
    assert causes == {Cause.CORRUPT_POINTER, Cause.CORRUPT_INDEX}


def test_errors_of_the_bus_stop_it_too():
    def nothing(_program, _image):
        pass

    error = ends_with(nothing, faulty=lambda p: first_load(p, Target.ENTRIES).address)
    assert error.cause is Cause.READ_RESPONSE
    error = ends_with(nothing, faulty=lambda p: p.placement("t1").address)
    assert error.cause is Cause.WRITE_RESPONSE


def descriptor_bits(index, change):
    """Change the bits of one descriptor in memory."""

    def make(program, image):
        start = program.program_address - program.base_address + 64 * index
        code = int.from_bytes(image[start : start + 64].tobytes(), "little")
        image[start : start + 64] = np.frombuffer(change(code).to_bytes(64, "little"), np.uint8)

    return make


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda code: code | 1 << 511, Cause.ILLEGAL_DESCRIPTOR),
        (lambda _: 0, Cause.ILLEGAL_DESCRIPTOR),
        # Waits for steps that never come: an error instead of a hang.
        (lambda code: code | 5 << 16, Cause.ILLEGAL_DESCRIPTOR),
        (lambda code: code | 1 << 90 + 36, Cause.READ_OUTSIDE_WINDOW),
    ],
)
def test_illegal_descriptors(change, cause):
    assert ends_with(descriptor_bits(0, change)).cause is cause


def test_stalls_of_every_channel_change_nothing_under_cocotb():
    rng = np.random.default_rng(SEED + 5)
    network = network_of(rng, (40, 30, 20), Codebook.of(rng.integers(-60, 60, 15), 4), 0.3)
    inputs = inputs_of(rng, network, 1, 0.6)
    program = compile_eie(network, TINY)
    golden = evaluate(network, inputs)
    expected = Simulator(TINY).run(program, inputs, IDEAL)
    for stall, seed in ((0.0, 1), (0.3, 2), (0.6, 3)):
        run = run_bench(TINY, program, inputs, stall=stall, seed=seed)
        for name, codes in golden.items():
            assert (run.tensors[name] == codes).all()
        for counter in EieCounter:
            if counter is not EieCounter.CYCLES:
                assert run.counters[counter] == expected.counters[counter][0]

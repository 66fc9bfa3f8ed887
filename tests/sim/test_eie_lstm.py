"""Recurrent layers on the EIE engine in RTL: every bit, cycle and access as expected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.eie.accelerator import CellUnit, PeArray, Widths
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.descriptors import Cell, Load, Target
from celosia.dataflow.eie.presets import TINY
from celosia.dataflow.eie.program import EieCounter
from celosia.dataflow.memory import DDR4, IDEAL, SLOW
from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.network import Network, Tensor
from celosia.models.random_lstm import lstm_inputs, lstm_network
from celosia.models.sparse import SparseLinear, SparseMatrix
from celosia.rtl.image import program_image
from celosia.rtl.registers import Cause
from celosia.scripts.simulate import simulate
from celosia.sim.cocotb.run import run_bench
from celosia.sim.driver import EngineError
from celosia.sim.run import Simulator, write_inputs

SEED = 900
CELLS = replace(TINY, name="eie_cells", cell=CellUnit())
ENGINES = {
    "cells": CELLS,
    "plain_weights": replace(
        CELLS, name="plain_cells", array=PeArray(pes=6, queue=4, channels=2, skip_empty=True),
        widths=Widths(weight=8, codebook=False, index=3), bus=Bus(data_bits=128),
        cell=CellUnit(segments=64),
    ),
    "odd": replace(CELLS, name="odd_cells", array=PeArray(pes=3, queue=1), bus=Bus(data_bits=128)),
}  # fmt: skip


def network_for(rng, engine, inputs, states, steps, **options):
    fmt = None if engine.widths.codebook else Fixed(bits=8)
    segments = engine.cell.segments
    return lstm_network(rng, inputs, states, steps, fmt=fmt, segments=segments, **options)


@pytest.mark.parametrize("name", ENGINES)
def test_layers_bit_for_bit_and_cycle_for_cycle(name):
    engine, rng = ENGINES[name], np.random.default_rng(SEED)
    for memory, (inputs, states, steps), bits, density in (
        (DDR4, (13, (10,), 6), 8, 0.4),
        (SLOW, (20, (9, 6), 3), 16, 0.1),
        (IDEAL, (5, (4,), 1), 12, 1.0),
    ):
        network = network_for(
            rng, engine, inputs, states, steps, bits=bits, density=density,
            cell_shift=int(rng.integers(0, 8)),
        )  # fmt: skip
        run = simulate(network, engine, lstm_inputs(rng, network, samples=2), memory)
        assert run.holds, run.verdict_line()
        rows = sum(-(-count // engine.array.pes) * steps for count in states)
        assert run.run.counters[EieCounter.CELL_ROWS].tolist() == [rows, rows]


def test_a_compressed_layer_before_and_one_after():
    """Of one step: the state is a vector like any other."""
    rng = np.random.default_rng(SEED + 1)
    network = lstm_network(rng, 12, (7,), 1)
    book, code = network.ops[0].format, network.tensor("t1").format

    def layer(name, source, target, shape):
        dense = rng.choice(book.values, shape) * (rng.random(shape) < 0.5)
        return SparseLinear(
            name=name, input=source, output=target, matrix=SparseMatrix.from_dense(dense),
            format=book, bias=rng.integers(-200, 200, shape[0]), shift=4, low=code.low,
            high=code.high,
        )  # fmt: skip

    network = Network(
        name="mixed",
        tensors=(
            Tensor(name="input", shape=(30, 1, 1), format=code, scale=1.0),
            *network.tensors,
            Tensor(name="output", shape=(9, 1, 1), format=code, scale=1.0),
        ),
        inputs=("input", "h0", "c0"),
        outputs=("output",),
        ops=(
            layer("before", "input", "t0", (12, 30)),
            *network.ops,
            layer("after", "t1", "output", (9, 7)),
        ),
    )
    run = simulate(network, CELLS, lstm_inputs(rng, network, samples=2), DDR4)
    assert run.holds, run.verdict_line()


def test_weights_are_loaded_once_for_all_steps():
    rng = np.random.default_rng(SEED + 2)
    loads = {}
    for steps in (1, 20):
        program = compile_eie(lstm_network(np.random.default_rng(SEED), 20, (10,), steps), CELLS)
        kinds = [d.target for d in program.descriptors if isinstance(d, Load)]
        loads[steps] = {target: kinds.count(target) for target in Target}
    assert loads[20] == loads[1] | {Target.ACTIVATIONS: 22}
    network = lstm_network(rng, 20, (10,), 20)
    run = simulate(network, CELLS, lstm_inputs(rng, network), DDR4)
    assert run.holds, run.verdict_line()


def case(seed=SEED + 3):
    rng = np.random.default_rng(seed)
    network = lstm_network(rng, 14, (10,), 3)
    return compile_eie(network, CELLS), lstm_inputs(rng, network), network


def test_stalls_of_every_channel_change_nothing_under_cocotb():
    program, inputs, network = case()
    golden = evaluate(network, inputs)
    expected = Simulator(CELLS).run(program, inputs, IDEAL)
    for stall, seed in ((0.0, 1), (0.5, 2)):
        run = run_bench(CELLS, program, inputs, stall=stall, seed=seed)
        for name, codes in golden.items():
            assert (run.tensors[name] == codes).all()
        for counter in EieCounter:
            if counter is not EieCounter.CYCLES:
                assert run.counters[counter] == expected.counters[counter][0]


def outcome(change):
    """Run with a memory image that ``change`` broke; return the cause, or None, and the image.

    Afterwards the engine, cleared where it stopped, runs the sound program.
    """
    program, inputs, network = case()
    image = program_image(program)
    write_inputs(program, image, inputs, 0)
    change(program, image)
    driver = Simulator(CELLS).driver()
    cause = None
    with driver.model as model:
        model.attach(image, program.base_address)
        driver.configure(program)
        model.start_memory(DDR4)
        driver.start()
        try:
            driver.wait(100_000)
        except EngineError as error:
            cause = error.cause
            driver.clear()
        ended = image.copy()
        image[:] = program_image(program)
        write_inputs(program, image, inputs, 0)
        driver.start()
        driver.wait(100_000)
        golden = evaluate(network, inputs)
        for name in ("t1", "cells0"):
            assert (program.placement(name).read(image) == golden[name][0]).all()
    return cause, ended, program, golden


def cell_bits(change):
    """Change the bits of the first cell's descriptor in memory."""

    def make(program, image):
        index = next(i for i, d in enumerate(program.descriptors) if isinstance(d, Cell))
        start = program.program_address - program.base_address + 64 * index
        code = int.from_bytes(image[start : start + 64].tobytes(), "little")
        image[start : start + 64] = np.frombuffer(change(code).to_bytes(64, "little"), np.uint8)

    return make


@pytest.mark.parametrize("bit", [5 + 14, 5 + 15 + 8, 29 + 13, 43 + 13, 57 + 13, 511])
def test_an_illegal_cell_stops_the_engine(bit):
    """Rows, PEs, gates, cells, outputs beyond the files; a bit that has no meaning."""
    cause, *_ = outcome(cell_bits(lambda code: code | 1 << bit))
    assert cause is Cause.ILLEGAL_DESCRIPTOR


def test_a_corrupt_table_changes_values_and_nothing_else():
    """Every bit pattern of a table is a function: it ends in as many cycles, within the window."""

    def change(program, image):
        load = next(
            d for d in program.descriptors if isinstance(d, Load) and d.target is Target.TABLES
        )
        start = load.address - program.base_address
        size = load.beats * program.accelerator.bus.data_bytes
        image[start : start + size] = np.random.default_rng(SEED).integers(0, 256, size)

    cause, ended, program, golden = outcome(change)
    assert cause is None
    assert (program.placement("t1").read(ended) != golden["t1"][0]).any()
    sound, good, *_ = outcome(lambda _program, _image: None)
    assert sound is None
    assert (program.placement("t1").read(good) == golden["t1"][0]).all()


def test_corrupt_entries_of_a_recurrent_layer_stop_the_engine():
    def change(program, image):
        for load in program.descriptors:
            if isinstance(load, Load) and load.target is Target.ENTRIES:
                start = load.address - program.base_address
                image[start : start + load.beats * 8] = 0xF1

    cause, *_ = outcome(change)
    assert cause is Cause.CORRUPT_INDEX

"""Recurrent layers on the EIE engine: description, refusals, programs, energy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.eie.accelerator import CellUnit, PeArray, Widths
from celosia.dataflow.eie.accelerator_file import dump_eie
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.descriptors import Cell, Load, Run, Store, Target
from celosia.dataflow.eie.energy import access_energy
from celosia.dataflow.eie.presets import LSTM, PAPER, TINY, ZCU102
from celosia.dataflow.eie.program import EieCounter
from celosia.dataflow.eie.timing import eie_timing
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.engines import fingerprint, load_engine
from celosia.dataflow.memory import DDR4
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.random_lstm import lstm_inputs, lstm_network

SEED = 1735
CELLS = replace(TINY, name="eie_cells", cell=CellUnit())
NETWORK = lstm_network(np.random.default_rng(SEED), 14, (10,), 3)


def test_without_a_cell_unit_a_description_is_as_before(tmp_path):
    assert "cell" not in dump_eie(PAPER)
    assert "[cell]\nsegments = 256\n" in dump_eie(LSTM)
    assert fingerprint(LSTM) != fingerprint(replace(ZCU102, name=LSTM.name))
    path = tmp_path / "engine.toml"
    path.write_text(dump_eie(TINY) + "\n[cell]\n")
    assert load_engine(path) == replace(TINY, cell=CellUnit())
    path.write_text(dump_eie(TINY) + "\n[cell]\nlines = 3\n")
    with pytest.raises(CelosiaError, match=r"unknown key cell\.lines"):
        load_engine(path)
    path.write_text(dump_eie(TINY) + "\n[cell]\nsegments = 100\n")
    with pytest.raises(CelosiaError, match="cell: segments must be a power of two, not 100"):
        load_engine(path)


def test_cell_units_need_their_widths():
    with pytest.raises(ValueError, match="needs activations of 16 bits, not 8"):
        replace(CELLS, widths=Widths(activation=8))
    with pytest.raises(TypeError, match="cell must be of type CellUnit, or None"):
        replace(TINY, cell=3)


def memories(**fields):
    return replace(CELLS, memories=replace(CELLS.memories, **fields))


@pytest.mark.parametrize(
    ("network", "accelerator", "message"),
    [
        (NETWORK, TINY, "is recurrent, accelerator 'eie_tiny' has no cell unit"),
        (NETWORK, replace(CELLS, cell=CellUnit(segments=64)), "256 segments, those of .* 64: make"),
        (NETWORK, replace(CELLS, widths=Widths(accumulator=16)), "needs accumulators of 19 bits"),
        (NETWORK, replace(CELLS, widths=Widths(weight=3)), "a codebook, of up to 3 bits"),
        (NETWORK, memories(activations=32), "two inputs and an output take 35 of the 32 activ"),
        (
            lstm_network(np.random.default_rng(1), 4, (60,), 2),
            replace(CELLS, array=PeArray(pes=4), memories=replace(
                CELLS.memories, activations=64, accumulators=64)),
            "gates and cells take 75 of the 64 activations",
        ),
        (lstm_network(np.random.default_rng(1), 4, (40,), 2), CELLS, "40 of the 32 accumulators"),
        (NETWORK, memories(biases=8), "gates take 12 of the 8 biases"),
        (NETWORK, memories(entries=64), r"they need \d+ of the 64 entries of a PE"),
        (NETWORK, memories(pointers=24), r"and 28 of the 24 pointers"),
        (NETWORK, memories(pointer_bits=8, entries=1024), None),
        (
            lstm_network(np.random.default_rng(1), 60, (30,), 2, density=1.0),
            memories(pointer_bits=8),
            r"at most 255 for each part, the largest is \d+",
        ),
        (
            NETWORK,
            replace(memories(pointers=64), array=PeArray(pes=4, skip_empty=True)),
            "have 128 columns, those of accelerator 'eie_cells' 64: raise memories.pointers",
        ),
    ],
)  # fmt: skip
def test_layers_that_are_refused(network, accelerator, message):
    if message is None:
        compile_eie(network, accelerator)
        return
    with pytest.raises(CelosiaError, match=message):
        compile_eie(network, accelerator)


def test_nothing_is_loaded_into_the_files_while_something_is_written():
    """From the program alone: what a load may meet, given what it waits for and what waits."""
    program = compile_eie(lstm_network(np.random.default_rng(SEED), 14, (10, 6), 4), CELLS)
    steps = [d for d in program.descriptors if not isinstance(d, Load)]
    loads = [d for d in program.descriptors if isinstance(d, Load)]
    inputs = [i for i, load in enumerate(loads) if load.target is Target.ACTIVATIONS]
    assert len(inputs) == 2 * (2 + 4)
    for number in inputs:
        # Steps from ``after`` on may run beside it until one waits for it.
        beside = []
        for step in steps[loads[number].after :]:
            if isinstance(step, Run) and step.after > number:
                break
            beside.append(step)
        assert not any(isinstance(step, Cell) for step in beside)
        assert not any(isinstance(step, Run) and step.write for step in beside)
    assert any(isinstance(step, Store) for step in steps)


@pytest.mark.parametrize(
    ("field", "sizes"), [("entries", range(64, 200, 8)), ("pointers", range(12, 60, 4))]
)
def test_both_parts_of_a_layer_lie_on_chip_together(field, sizes):
    """Wherever the layer before ended: no load waits for steps that come after it."""
    network = lstm_network(np.random.default_rng(1), 6, (3, 12), 2)
    compiled = 0
    for size in sizes:
        try:
            program = compile_eie(network, memories(**{field: size}))
        except CelosiaError:
            continue
        compiled += 1
        steps = 0
        for descriptor in program.descriptors:
            if isinstance(descriptor, Load):
                assert descriptor.after <= steps, size
            else:
                steps += 1
    assert compiled > 5


def test_energy_of_elements():
    inputs = lstm_inputs(np.random.default_rng(SEED), NETWORK)
    program = compile_eie(NETWORK, CELLS)
    golden = {name: codes[0] for name, codes in evaluate(NETWORK, inputs).items()}
    counters = eie_timing(program, DDR4, golden).counters
    table = load_energy_table("cmos45")
    found = access_energy(counters, CELLS, table)
    assert counters[EieCounter.CELL_ROWS] == 3 * 3
    zero = dict.fromkeys(EieCounter, 0)
    row = access_energy(zero | {EieCounter.CELL_ROWS: 1}, CELLS, table)
    assert found.cells == pytest.approx(9 * row.total)
    assert row.total == row.cells > 4 * 3 * 4 * table.multiply_8x8
    assert access_energy(zero | {EieCounter.CELL_ROWS: 1}, TINY, table).total == 0

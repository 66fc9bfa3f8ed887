"""The EIE engine's description, compiler and timing model."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.eie.accelerator import PeArray, Widths
from celosia.dataflow.eie.accelerator_file import dump_eie
from celosia.dataflow.eie.allocate import Ring
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.descriptors import Load, Run, Target
from celosia.dataflow.eie.energy import access_energy, paper_energy
from celosia.dataflow.eie.pack import entry_bytes
from celosia.dataflow.eie.presets import EIE_PRESETS, PAPER, TINY
from celosia.dataflow.eie.program import EieCounter
from celosia.dataflow.eie.run_kernel import run_tile
from celosia.dataflow.eie.tiles import cut, limits
from celosia.dataflow.eie.timing import broadcast_order, eie_timing, run_timings
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.engines import load_engine
from celosia.dataflow.memory import DDR4
from celosia.models.eie import decode
from celosia.models.eie_benchmark import LAYERS, balanced_mask, benchmark_network, random_places
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Fixed
from celosia.models.golden import evaluate
from celosia.models.network import Network, Tensor
from celosia.models.random_network import random_network
from celosia.models.sparse import SparseLinear, SparseMatrix

SEED = 64


def chain(rng, sizes, density=0.3, fmt=None, low=0, bits=8):
    """Compressed layers one after another."""
    fmt = fmt or Codebook.of(rng.integers(-50, 50, 15), 4)
    ops = tuple(
        SparseLinear(
            name=f"fc{i}", input=f"t{i}", output=f"t{i + 1}",
            matrix=SparseMatrix.from_dense(
                rng.choice(fmt.values, (rows, columns)) * (rng.random((rows, columns)) < density)
            ),
            format=fmt, bias=rng.integers(-100, 100, rows), shift=4, low=low, high=100,
        )
        for i, (columns, rows) in enumerate(itertools.pairwise(sizes))
    )  # fmt: skip
    code = Fixed(bits=bits, signed=low < 0)
    tensors = tuple(
        Tensor(name=f"t{i}", shape=(size, 1, 1), format=code, scale=1.0)
        for i, size in enumerate(sizes)
    )
    outputs = (tensors[-1].name,)
    return Network(name="chain", tensors=tensors, inputs=("t0",), outputs=outputs, ops=ops)


@pytest.mark.parametrize("name", EIE_PRESETS)
def test_a_file_brings_an_engine_back(name, tmp_path):
    path = tmp_path / "engine.toml"
    path.write_text(dump_eie(EIE_PRESETS[name]))
    assert load_engine(path) == EIE_PRESETS[name]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('engine = "eie"', 'engine = "crossbar"', "engine must be 'eie', 'sparch', or left out"),
        ("pes = 4", "pes = 257", r"array: pes must be in 1\.\.256, not 257"),
        ("pes = 4", "pes = 4\nrows = 3", r"unknown key array\.rows"),
        ("queue = 8", "queue = 65", "queue must be in"),
        ("channels = 1", "channels = 3", "channels must be 1, 2 or 4"),
        ("skip_empty = false", "skip_empty = 1", "skip_empty must be true or false"),
        ("index = 4", "index = 9", "index must be in"),
        ("weight = 4", "weight = 9", "weight must be in"),
        ("codebook = true", "codebook = 1", "codebook must be true or false"),
        ("entries = 4096", "", r"key memories\.entries is missing"),
        ("entries = 4096", "entries = 4092", "entries must fill whole beats"),
        ("pointers = 512", "pointers = 510", "pointers must fill whole beats"),
        ("row_entries = 8", "row_entries = 6", "row_entries must be a power of two"),
        ("row_entries = 8", "row_entries = 16", "must fit a beat of 64 bits"),
        ("activations = 64", "activations = 40", "must be multiples of the window, 16"),
        ("window = 16", "window = 128", "window must be in"),
        ("accumulators = 32", "accumulators = 32768", "at most 16384"),
        ('name = "eie_tiny"', "name = 3", "name must be a string"),
        ('name = "eie_tiny"', 'name = "4"', "name must be letters"),
    ],
)
def test_files_that_are_refused(old, new, message, tmp_path):
    text = dump_eie(TINY)
    assert old in text
    path = tmp_path / "engine.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(CelosiaError, match=message):
        load_engine(path)


def test_parts_of_the_wrong_kind():
    with pytest.raises(TypeError, match="array must be of type PeArray"):
        replace(TINY, array=None)


NETWORK = chain(np.random.default_rng(SEED), (30, 20))


@pytest.mark.parametrize(
    ("network", "accelerator", "message"),
    [
        (random_network(3, (Fixed(bits=4),)), TINY, "takes vectors of fixed-point activations"),
        (NETWORK, replace(TINY, widths=Widths(activation=8)), "ufixed8 does not fit activations"),
        (
            NETWORK,
            replace(TINY, widths=Widths(weight=3)),
            "a codebook, of up to 3 bits",
        ),
        (
            NETWORK,
            replace(TINY, widths=Widths(codebook=False)),
            "without a codebook, of up to 4 bits",
        ),
        (NETWORK, replace(TINY, widths=Widths(value=6)), "do not fit 6 bits"),
        (
            NETWORK,
            replace(TINY, widths=Widths(accumulator=16)),
            "needs accumulators of 1. bits",
        ),
        (chain(np.random.default_rng(1), (300, 4)), TINY, "300 activations do not fit the 256"),
        (
            chain(np.random.default_rng(1), (60, 120), density=1.0),
            replace(TINY, memories=replace(TINY.memories, entries=512)),
            "60 columns .* need more than the 512 entries",
        ),
        (NETWORK, replace(TINY, bus=Bus(data_bits=64, burst_beats=32, address_bits=32)), None),
    ],
)
def test_networks_that_are_refused(network, accelerator, message):
    if message is None:
        with pytest.raises(CelosiaError, match="32 address bits"):
            compile_eie(network, accelerator, 0xFFFF_F000)
        return
    with pytest.raises(CelosiaError, match=message):
        compile_eie(network, accelerator)


def test_base_addresses_are_pages():
    with pytest.raises(ValueError, match="multiple of 4096, not 100"):
        compile_eie(NETWORK, TINY, 100)


def test_tiles_make_up_the_layer():
    rng = np.random.default_rng(SEED + 1)
    small = replace(TINY, memories=replace(TINY.memories, entries=512, accumulators=16))
    for density in (0.05, 0.3):
        op = chain(rng, (200, 150), density).ops[0]
        whole = np.zeros((150, 200), np.int64)
        for tile in cut(op, small, limits(small, share=1)):
            assert tile.first % small.window_columns == 0
            assert tile.size <= 512
            part = decode(tile.compressed, op.format).dense()
            rows = slice(tile.first_row, tile.first_row + part.shape[0])
            whole[rows, tile.first : tile.first + tile.columns] += part
        assert (whole == op.matrix.dense()).all()


def test_batches_are_as_many_rows_as_biases_and_accumulators_hold():
    network = chain(np.random.default_rng(SEED + 8), (40, 150))  # 38 rows a PE, in windows of 16
    for biases, accumulators, batches in ((40, 48, 1), (38, 48, 1), (36, 48, 2), (64, 32, 2)):
        memories = replace(TINY.memories, biases=biases, accumulators=accumulators)
        small = replace(TINY, memories=memories)
        program = compile_eie(network, small)
        loads = [d for d in program.descriptors if isinstance(d, Load)]
        for load in loads:
            if load.target is Target.BIASES:
                assert load.place + load.beats <= biases // small.bias_lanes
        runs = [d for d in program.descriptors if isinstance(d, Run) and d.write]
        assert len(runs) == batches
        assert all(run.target % small.memories.window == 0 for run in runs)
    memories = replace(TINY.memories, biases=14)
    with pytest.raises(CelosiaError, match=r"14 biases, fewer than a window of 16 rows has: raise"):
        compile_eie(network, replace(TINY, memories=memories))


def test_no_tile_is_overwritten_before_its_run_is_done():
    """Loads wait for all that used their places, and only for steps before them."""
    rng = np.random.default_rng(SEED + 2)
    small = replace(TINY, memories=replace(TINY.memories, entries=1024, pointers=256, biases=32))
    program = compile_eie(chain(rng, (200, 190, 60, 40)), small)
    steps, held, waits = 0, {}, 0
    for descriptor in program.descriptors:
        if isinstance(descriptor, Load):
            assert descriptor.after <= steps
            waits += descriptor.after > 0
            if descriptor.target in (Target.ENTRIES, Target.POINTERS, Target.BIASES):
                key = descriptor.target, descriptor.pe
                for place in range(descriptor.place, descriptor.place + descriptor.beats):
                    assert held.get((*key, place), 0) <= descriptor.after
                    held[*key, place] = 10**9  # until a run frees it
        else:
            steps += 1
            if isinstance(descriptor, Run):
                held = {place: min(until, steps) for place, until in held.items()}
    assert waits


def test_ring_gives_places_out_in_a_circle():
    ring = Ring(10)
    assert ring.take(4, 1) == (0, 0)
    assert ring.take(4, 2) == (4, 0)
    assert ring.take(3, 3) == (0, 1)
    assert ring.take(6, 4) == (3, 2)
    assert ring.take(10, 5) == (0, 4)


def test_ring_lets_tenants_lie_side_by_side():
    ring = Ring(10)
    ring.take(2, 1)
    ring.gather(9)
    assert ring.take(3, 2) == (0, 1)
    assert ring.take(6, 2) == (3, 0)


def test_ring_remembers_the_rest_of_a_tenant():
    ring = Ring(10)
    assert ring.take(10, 3) == (0, 0)
    assert ring.take(4, 5) == (0, 3)
    assert ring.take(6, 7) == (4, 3)


def test_entries_of_odd_widths_are_packed_bit_by_bit():
    engine = replace(
        TINY,
        widths=Widths(index=4, weight=8, codebook=False),
        memories=replace(TINY.memories, row_entries=4),
    )
    raw = entry_bytes(engine, np.arange(1, 7), np.arange(6))
    rows = raw.view("<u8")
    expected = [0, 0]
    for i in range(6):
        expected[i // 4] |= (i + 1 | i << 8) << 12 * (i % 4)
    assert rows.tolist() == expected


def test_timing_needs_the_activations():
    program = compile_eie(NETWORK, TINY)
    with pytest.raises(CelosiaError, match=r"needs the activations 't0' of shape \(30, 1, 1\)"):
        eie_timing(program, DDR4, {})


def queue_model(counts, columns, depth):
    """The paper's queues, as a plain loop: cycles from the first broadcast to the last entry.

    A cycle passes between a broadcast and its first entry: its pointers are read. One activation
    a cycle is broadcast while every queue has a place; the head keeps its place until its entries
    are done, one a cycle, and a cycle where there are none.
    """
    pes = len(counts)
    free = [1] * pes  # when each PE can begin its next column
    done = [[] for _ in range(pes)]
    cycle = 0
    for number, column in enumerate(columns):
        cycle += 1
        if number >= depth:
            cycle = max(cycle, *(done[k][number - depth] + 1 for k in range(pes)))
        for k in range(pes):
            begin = max(cycle + 2, free[k])
            free[k] = begin + max(1, int(counts[k, column]))
            done[k].append(free[k] - 1)
    return max(free) - 1


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_papers_queue_model_says_the_same(depth):
    rng = np.random.default_rng(SEED + depth)
    for _ in range(40):
        pes, columns = int(rng.integers(1, 6)), int(rng.integers(1, 12))
        counts = rng.integers(0, 5, (pes, columns))
        met = np.sort(rng.permutation(columns)[: rng.integers(1, columns + 1)])
        tally = run_tile(counts, met[None], np.array([[len(met)]]), 0, False, depth, 0)
        # Flags, a nonzero and its value come before the first broadcast; idle is said after.
        assert tally.quiet == queue_model(counts, met, depth) + 3 + 2
        assert tally.broadcasts == len(met)


def test_windows_and_channels_of_broadcasts():
    engine = replace(TINY, array=PeArray(pes=4, channels=2))
    values = np.zeros(130, np.int64)
    values[[0, 1, 3, 64, 66, 129]] = 5
    order, ends = broadcast_order(engine, values)
    assert order[0, : ends[0, -1]].tolist() == [0, 1, 64, 129]
    assert order[1, : ends[1, -1]].tolist() == [3, 66]
    assert ends.tolist() == [[2, 3, 4], [1, 2, 2]]


def cycles_of(layer, accelerator):
    network, codes = benchmark_network(layer)
    program = compile_eie(network, accelerator)
    runs = run_timings(program, {"input": codes[0]})
    entries = sum(run.entries for run in runs) / accelerator.array.pes
    return sum(run.cycles for run in runs), entries


def test_queue_depth_of_the_paper():
    """Half of the cycles are idle at depth 1, and 8 is nearly as good as it gets."""
    layer = next(layer for layer in LAYERS if layer.name == "Alex-7")
    balance = {}
    for depth in (1, 8, 16):
        cycles, entries = cycles_of(layer, replace(PAPER, array=PeArray(pes=64, queue=depth)))
        balance[depth] = entries / cycles
    assert 0.4 <= balance[1] <= 0.6
    assert balance[8] >= 0.94
    assert 0 <= balance[16] - balance[8] < 0.03


def test_random_places_have_their_density():
    rng = np.random.default_rng(SEED)
    for density in (0.04, 0.5, 1.0):
        places = random_places(rng, 200_000, density)
        assert (np.diff(places) > 0).all()
        assert abs(len(places) - 200_000 * density) < 5 * np.sqrt(200_000 * density)
    assert (places == np.arange(200_000)).all()


def test_a_balanced_mask_gives_every_pe_its_share():
    rng = np.random.default_rng(SEED)
    columns, rows = balanced_mask(rng, 600, 300, 0.1, 64)
    counts = np.zeros((64, 300), np.int64)
    np.add.at(counts, (rows % 64, columns), 1)
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1
    assert abs(len(rows) - 18_000) < 700
    assert (np.diff(columns * 600 + rows) > 0).all()


def test_golden_equals_scipy():
    sparse = pytest.importorskip("scipy.sparse", reason="an independent product")
    rng = np.random.default_rng(SEED + 9)
    for _ in range(20):
        columns, rows = rng.integers(1, 60, 2).tolist()
        network = chain(rng, (columns, rows), float(rng.random()))
        op = network.ops[0]
        matrix = sparse.csc_matrix(
            (op.matrix.values, op.matrix.rows, op.matrix.starts), shape=op.matrix.shape
        )
        x = rng.integers(0, 256, (1, columns, 1, 1))
        sums = matrix @ x[0, :, 0, 0] + op.bias
        expected = np.rint(sums / 16).clip(0, 100)
        assert (evaluate(network, {"t0": x})["t1"][0, :, 0, 0] == expected).all()


def test_energy_by_the_papers_powers():
    """64 PEs take 586 mW; the shares are those of its table, which leave out 0.00 to 0.1 %."""
    found = paper_energy(800, 64)  # a microsecond
    assert found.total == pytest.approx(586e3, rel=2e-3)
    assert found.entries / found.total == pytest.approx(0.5411, abs=1e-3)


@pytest.mark.parametrize("name", ["cmos45", "fpga"])
def test_energy_is_that_of_each_access(name):
    table = load_energy_table(name)
    zero = dict.fromkeys(EieCounter, 0)
    assert access_energy(zero, PAPER, table).total == 0
    row = access_energy(zero | {EieCounter.ROW_READS: 3}, PAPER, table)
    assert row.total == row.entries == pytest.approx(3 * 64 * table.memory_bit(128 * 1024))
    look = access_energy(zero | {EieCounter.POINTER_READS: 2}, PAPER, table)
    assert look.total == look.pointers == pytest.approx(2 * 2 * 16 * table.memory_bit(32 * 1024))
    entry = access_energy(zero | {EieCounter.ENTRIES: 1}, PAPER, table)
    assert entry.total == entry.arithmetic > table.multiply_8x8 * 4
    beat = access_energy(zero | {EieCounter.READ_BEATS: 1}, PAPER, table)
    assert beat.total == beat.dram == 128 * table.dram_bit

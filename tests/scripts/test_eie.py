"""The commands on the EIE engine: bench eie, explore, generate and simulate."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.eie.accelerator import CellUnit
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.presets import TINY
from celosia.dataflow.engines import load_engine
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.memory import DDR4
from celosia.fpga.devices import Resources, find_device
from celosia.models.compression.recipe import Retraining
from celosia.models.eie_benchmark import LAYERS, BenchmarkLayer, benchmark_network
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.importer import export_model, import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.mlp_zoo import digits_mlp
from celosia.models.random_lstm import lstm_network
from celosia.models.storage import save
from celosia.scripts import bench_eie
from celosia.scripts import explore_eie as explore
from celosia.scripts.arguments import read_accelerator, read_engine
from celosia.scripts.bench_eie import (
    ALONE,
    DEPTHS,
    OFF,
    ON,
    PES,
    find_layers,
    measure_layer,
    summary,
    with_pes,
    with_queue,
)
from celosia.scripts.bench_eie_networks import (
    CASES,
    compressed,
    find_cases,
    measure_network,
    tables,
)
from celosia.scripts.cli import run_command
from celosia.scripts.report_eie import eie_charts, improvements, read_measured
from celosia.scripts.simulate import simulate
from celosia.sim.run import Simulator

from .test_report import traces

LAYER = BenchmarkLayer(
    name="small", inputs=90, outputs=70, weight_density=0.2, activation_density=0.4, paper_us=0.5
)


def test_a_row_of_the_benchmark():
    row = measure_layer(LAYER, Simulator(TINY), replace(ON, accelerator=TINY))
    assert list(row.as_dict()) == [
        "layer", "pes", "queue_depth", "cycles_measured", "cycles_predicted", "cycles_theoretical",
        "balance", "us_at_800mhz", "paper_us", "improvements", "bit_exact", "sim_seconds",
    ]  # fmt: skip
    assert row.holds
    assert row.improvements == "on"
    assert row.cycles_theoretical < row.cycles_measured
    assert row.balance == pytest.approx(row.cycles_theoretical / row.cycles_measured, abs=1e-4)
    assert row.us_at_800mhz == pytest.approx(row.cycles_measured / 800, abs=1e-3)
    assert not replace(row, cycles_predicted=1).holds
    found = summary([row, replace(row, improvements="off", us_at_800mhz=0.4)])
    assert found["at_most_the_papers_time"] == 1
    assert found["least_balance_improved"] == row.balance


def test_each_improvement_stands_alone():
    """Between off and on, variants differ from the paper's engine and masks in one thing."""
    assert [variant.name for variant in ALONE] == [
        "off", "channels", "skip_empty", "balanced", "on",
    ]  # fmt: skip

    def traits(variant):
        array = variant.accelerator.array
        return array.channels > 1, array.skip_empty, variant.balanced

    assert [sum(traits(variant)) for variant in ALONE] == [0, 1, 1, 1, 3]
    assert len({traits(variant) for variant in ALONE}) == 5
    assert (ALONE[0], ALONE[-1]) == (OFF, ON)


def test_a_trained_network_of_the_benchmark():
    """Every test sample in RTL; a network that was hardly trained, on the smallest engine."""
    case = replace(find_cases(["digits_mlp"])[0], retraining=Retraining(epochs=1, stages=1))
    whole = digits_mlp(epochs=2)
    work = replace(
        whole,
        inputs=whole.inputs[:40],
        labels=whole.labels[:40],
        training=whole.training[:400],
        training_labels=None,
    )
    row = measure_network(case, work, lambda *_: None)
    assert row.holds
    assert row.samples == 40
    assert row.cycles_measured == row.cycles_predicted > row.run_cycles
    assert row.density == pytest.approx(0.1, abs=0.002)
    # Permuted or not, training is the same, and so is every output.
    graph = import_program(export_model(work.model, (work.example,)), work.name)
    permuted = compressed(replace(case, permuted=True), graph, work)
    x = quantise_inputs(permuted, work.inputs.reshape(40, 64, 1, 1))
    outputs = evaluate(permuted, x)[permuted.outputs[0]]
    assert row.accuracy == pytest.approx(work.accuracy([outputs]), abs=1e-4)
    headers = [len(part.columns) for part in tables([row])]
    assert headers == [8, 9]
    assert row.as_dict()["network"] == "digits_mlp"


def test_networks_are_found_by_name(capsys):
    assert find_cases(()) == CASES
    with pytest.raises(CelosiaError, match="there is no network 'alexnet': known are digits_mlp"):
        find_cases(["alexnet"])
    assert run_command(["bench", "eie", "--networks", "alexnet"]) == 1
    assert run_command(["bench", "eie", "--networks", "--alone"]) == 1
    assert "give one of --curves, --alone and --networks" in capsys.readouterr().err


def test_layers_are_found_by_name():
    assert find_layers(()) == LAYERS
    assert [layer.name for layer in find_layers(["vgg-7", "NT-We"])] == ["VGG-7", "NT-We"]
    with pytest.raises(CelosiaError, match="no benchmark layer 'LeNet': known are Alex-6"):
        find_layers(["LeNet"])


def test_curves_leave_out_what_holds_no_vector_of_the_layer(monkeypatch):
    tried = []
    monkeypatch.setattr(bench_eie, "predict_layer", lambda *pair: tried.append(pair))
    points = bench_eie.curves((), lambda *_: None)
    assert len(points) == len(tried) == len(LAYERS) * (len(DEPTHS) + len(PES)) - 1
    by_name = {layer.name: layer for layer in LAYERS}
    assert (by_name["VGG-6"], with_pes(1)) not in tried
    for layer, engine in tried:
        assert max(layer.inputs, layer.outputs) <= engine.memories.activations * engine.array.pes


def test_rows_of_the_recurrent_benchmark_are_found_by_name(capsys):
    assert run_command(["bench", "lstm", "nothing"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "no row's name holds 'nothing': rows are 8 bits, all" in said


def test_engines_of_the_curves():
    assert [with_queue(depth).array.queue for depth in DEPTHS] == list(DEPTHS)
    assert [with_pes(pes).array.pes for pes in PES] == list(PES)


def test_read_engine_knows_all_kinds(tmp_path):
    assert isinstance(read_engine("tiny"), Accelerator)
    assert read_engine("eie_tiny") == TINY
    with pytest.raises(CelosiaError, match=r"presets are tiny, .*eie_paper"):
        read_engine("nothing")
    with pytest.raises(CelosiaError, match="name an accelerator file"):
        read_engine("")
    with pytest.raises(CelosiaError, match="eie_tiny is no dense engine"):
        read_accelerator("eie_tiny")


@dataclass
class Fake:
    """What synthesis would have said."""

    fits: bool
    total: Resources
    fractions: dict[str, float]


@pytest.fixture
def fake(monkeypatch):
    """Synthesis that finds room for engines of at most 8 PEs."""
    tried = []

    def synth(engine, _device):
        tried.append(engine)
        total = Resources(lut=1000 * engine.array.pes)
        return Fake(fits=engine.array.pes <= 8, total=total, fractions={"lut": 0.5})

    monkeypatch.setattr(explore, "synth", synth)
    return tried


def test_the_fastest_that_fits_is_chosen(fake):
    network, _ = benchmark_network(LAYER)
    found = explore.explore_eie(network, find_device("zcu102"), DDR4, lambda *_: None)
    assert found.accelerator.array.pes <= 8
    assert found.report.fits
    assert fake[-1] == found.accelerator
    assert all(engine.array.pes > 8 for engine in fake[:-1])


def test_memories_that_are_too_large_are_passed_over():
    network, _ = benchmark_network(LAYER)
    budget = Resources(lut=10**6, ff=10**6, dsp=1000, bram=20)
    engines = list(explore.candidates(network, budget))
    assert engines
    assert all(e.array.pes * explore.memory_blocks(e) <= 20 for e in engines)
    assert len(engines) < len(list(explore.candidates(network, find_device("zcu102").budget)))


@pytest.mark.parametrize(("bits", "each"), [(8, 8), (12, 8), (13, 4), (16, 4)])
def test_wide_weights_have_shorter_rows(bits, each):
    """As those of lowered convolutions: a row of entries is a beat at most."""
    network, _ = benchmark_network(LAYER, Fixed(bits=bits))
    engines = list(explore.candidates(network, find_device("zcu102").budget))
    assert {engine.memories.row_entries for engine in engines} == {each}
    for engine in engines[::10]:
        assert compile_eie(network, engine).accelerator == engine


@pytest.mark.parametrize("inputs", [70_000, 600_000])
def test_long_vectors_need_many_pes(inputs):
    network, _ = benchmark_network(
        replace(LAYER, inputs=inputs, outputs=2, weight_density=0.001), Fixed(bits=8)
    )
    budget = Resources(lut=10**9, ff=10**9, dsp=10**6, bram=10**6)
    engines = list(explore.candidates(network, budget))
    assert min(engine.array.pes for engine in engines) == {70_000: 8, 600_000: 64}[inputs]


def test_parts_that_hold_no_engine(fake):
    network, _ = benchmark_network(LAYER)
    part = find_device("zcu102")
    with pytest.raises(CelosiaError, match="no EIE engine's memories fit"):
        explore.explore_eie(network, replace(part, budget=Resources(bram=1)), DDR4, lambda *_: None)


def test_explore_takes_compressed_networks(fake, tmp_path, capsys):
    network, _ = benchmark_network(LAYER)
    save(network, tmp_path / "n.celosia")
    arguments = ["explore", str(tmp_path / "n.celosia"), "-o", str(tmp_path / "out"), "--json"]
    assert run_command(arguments) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["fits"]
    engine = load_engine(tmp_path / "out" / "accelerator.toml")
    assert (engine.array.pes, engine.memories.entries) == (value["pes"], value["entries"])


def test_what_a_search_for_eie_knows_nothing_of_is_refused(fake, tmp_path, capsys):
    network, _ = benchmark_network(LAYER)
    save(network, tmp_path / "n.celosia")
    arguments = ["explore", str(tmp_path / "n.celosia"), "-o", str(tmp_path / "out")]
    assert run_command([*arguments, "--batch=2", "--objective=energy", "--explain=fc"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "of --explain, --batch, --objective a search for an EIE engine knows nothing" in said
    assert not (tmp_path / "out").exists()
    assert fake == []


def test_explore_gives_recurrent_layers_cell_units(fake, monkeypatch):
    monkeypatch.setattr(explore, "PES", (16, 4))
    monkeypatch.setattr(explore, "ENTRIES", (4096, 2048))
    network = lstm_network(np.random.default_rng(3), 20, (24, 10), 3, segments=64)
    found = explore.explore_eie(network, find_device("zcu102"), DDR4, lambda *_: None)
    assert found.considered == 4
    assert found.accelerator.cell == CellUnit(segments=64)
    assert found.accelerator.array.pes == 4
    plain = replace(found.accelerator, cell=None)
    assert explore.memory_blocks(found.accelerator) > explore.memory_blocks(plain)


def test_generate_and_simulate(tmp_path, capsys):
    assert run_command(["generate", "eie_tiny", "-o", str(tmp_path / "core"), "--json"]) == 0
    assert "celosia_eie_tiny.v" in json.loads(capsys.readouterr().out)["files"]
    network, codes = benchmark_network(LAYER)
    save(network, tmp_path / "n.celosia")
    np.save(tmp_path / "x.npy", codes)
    engine, inputs = str(tmp_path / "core" / "accelerator.toml"), str(tmp_path / "x.npy")
    arguments = ["--accelerator", engine, "--inputs", inputs, "--codes", "--json"]
    assert run_command(["simulate", str(tmp_path / "n.celosia"), *arguments]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["bit_exact"]
    assert value["cycles_exact"]
    assert value["counters_exact"]
    assert value["counters"]["run_cycles"]["measured"] > 0


def test_an_engine_without_mappings_refuses_one():
    network, codes = benchmark_network(LAYER)
    with pytest.raises(CelosiaError, match="accelerator 'eie_tiny' takes no mapping"):
        simulate(network, TINY, {"input": codes}, DDR4, mapping=Mapping(layers=()))


def test_charts_of_the_report():
    """Bars of nine layers, and a point for each depth and each number of PEs of two layers."""
    measured = read_measured()
    times, depths, speeds = eie_charts(measured).values()
    assert [len(data["x"]) for data in traces(times)[0]] == 3 * [len(LAYERS)]
    assert len(traces(depths)[0][0]["x"]) == 2 * len(DEPTHS)
    assert len(traces(speeds)[0][0]["x"]) == 2 * len(PES)
    assert "NT-LSTM" in times
    assert ">ours improved</span>" in times
    assert "Alex-7, depth 64" in depths
    # A layer that was run on 64 PEs alone, and one that was not improved, have no place in two.
    odd = {"layer": "VGG-6", "pes": 64, "queue_depth": 8, "cycles": 20064, "balance": 0.9}
    more = measured | {
        "curves": [*measured["curves"], odd],
        "layers": [row for row in measured["layers"] if row["improvements"] == "off"],
    }
    times, depths, speeds = eie_charts(more).values()
    assert traces(times)[0] == []
    assert len(traces(depths)[0][0]["x"]) == 2 * len(DEPTHS) + 1
    assert len(traces(speeds)[0][0]["x"]) == 2 * len(PES)


def test_tables_of_the_report():
    """What is shipped holds: every row exact, all variants of each layer, all networks."""
    measured = read_measured()
    alone = improvements(measured["alone"])
    assert len(alone) >= 3
    for rows in alone.values():
        assert list(rows) == [variant.name for variant in ALONE]
        assert all(row["bit_exact"] for row in rows.values())
        assert all(row["cycles_measured"] == row["cycles_predicted"] for row in rows.values())
    assert [row["network"] for row in measured["networks"]] == [case.name for case in CASES]
    assert all(row["holds"] for row in measured["networks"])
    assert all(row["accuracy"] >= row["accuracy_float"] - 0.01 for row in measured["networks"])

"""The command, from arguments to files."""

import json

import numpy as np
import pytest
import torch

from celosia.dataflow.accelerator_file import load_accelerator
from celosia.dataflow.arrange import arrange
from celosia.dataflow.compile import compile_network
from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.explore.evaluate import Evaluator
from celosia.dataflow.explore.search import Search
from celosia.dataflow.mapping import load_mapping
from celosia.dataflow.memory import DDR4
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.timing import timing
from celosia.models.archive import save_model
from celosia.models.formats import parse_format
from celosia.models.golden import evaluate
from celosia.models.inputs import quantise_inputs
from celosia.models.random_network import random_network
from celosia.models.storage import load, save
from celosia.models.zoo import DigitsNet, Workload
from celosia.scripts import console
from celosia.scripts.cli import run_command
from celosia.scripts.explore import networks
from celosia.scripts.explore import run as explore_run
from celosia.scripts.explore.networks import read_subject

FORMATS = tuple(parse_format(name) for name in ("fixed4", "sp2_4"))
SMALL = [
    "--fix=columns=4,8", "--fix=lanes=8", "--fix=pixels=1,2", "--fix=data_bits=64",
    "--fix=post_lanes=4", "--fix=activations=1024", "--fix=weights=512",
    "--fix=accumulators=256", "--fix=constants=64", "--fix=residuals=512", "--fix=outputs=512",
    "--fix=activation_banks=1", "--workers=1",
]  # fmt: skip


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "small.celosia"
    save(random_network(3, FORMATS), path)
    return path


def run(*arguments):
    return run_command(["explore", *map(str, arguments)])


def found(capsys):
    return json.loads(capsys.readouterr().out)


def test_what_is_found_is_what_the_files_say(network, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(network, *SMALL, "--candidates=12", "--json", "-o", out) == 0
    value = found(capsys)
    accelerator = load_accelerator(out / "accelerator.toml")
    program = compile_network(
        load(out / "network.celosia"), accelerator, load_mapping(out / "mapping.json")
    )
    assert timing(program, DDR4).cycles == value["best"]["cycles"]
    assert value["best"] in value["front"]
    assert value["best"]["fps"] == max(entry["fps"] for entry in value["front"])
    assert value["best"]["fps"] <= value["bound"]["fps"]
    assert value["best"]["fps"] < value["best"]["bounds"]["fps"]
    for entry in value["points"]:
        assert set(entry["bounds"]) == set(entry["gaps"]) == {"fps", "energy", "edp", "dram"}
        assert all(0 < gap < 1 for gap in entry["gaps"].values())
    assert {layer["name"] for layer in value["layers"]} == {layer.name for layer in program.layers}
    assert json.loads((out / "explore.json").read_text()) == {
        key: part for key, part in value.items() if key != "files"
    }
    page = (out / "report.html").read_text()
    for text in (
        "Pareto front",
        "no mapping on it is better than",
        "What bounds each layer",
        value["best"]["array"],
        "<svg",
    ):
        assert text in page


def test_kernels_that_must_be_compiled_are_said_to_be(network, tmp_path, capsys, monkeypatch):
    arguments = [network, *SMALL, "--candidates=1", "--json", "-o", tmp_path / "out"]
    assert run(*arguments) == 0
    capsys.readouterr()
    for folder, told in ((None, False), (tmp_path / "empty", True)):
        if folder is not None:
            monkeypatch.setattr("numba.core.config.CACHE_DIR", str(folder))
        assert run(*arguments) == 0
        assert ("compiling kernels" in capsys.readouterr().err) == told


def test_the_time_of_a_search_is_not_spent_on_compiling(network, tmp_path, capsys, monkeypatch):
    happened = []
    mapped, searched = Evaluator.map, Search.run
    monkeypatch.setattr(Evaluator, "map", lambda *a: happened.append("map") or mapped(*a))
    monkeypatch.setattr(Search, "run", lambda *a: happened.append("run") or searched(*a))
    arguments = [network, *SMALL, "--candidates=1", "--json", "-o", tmp_path / "out"]
    for there, begun in ((True, ["run", "map"]), (False, ["map", "run"])):
        monkeypatch.setattr(explore_run, "kept", lambda module, there=there: there)
        happened.clear()
        assert run(*arguments) == 0
        capsys.readouterr()
        assert happened[:2] == begun


def test_a_dataflow_by_name_is_kept_to(network, tmp_path, capsys):
    for dataflow in (Dataflow.WEIGHT_STATIONARY, Dataflow.ROW_WISE):
        arguments = [*SMALL, "--candidates=4", "--json", f"--dataflow={dataflow.value}"]
        assert run(network, *arguments, "-o", tmp_path / "out") == 0
        value = found(capsys)
        assert value["dataflow"] == dataflow.value
        mapping = load_mapping(tmp_path / "out" / "mapping.json")
        accelerator = load_accelerator(tmp_path / "out" / "accelerator.toml")
        arrangement = arrange(load(tmp_path / "out" / "network.celosia"), accelerator)
        for step in arrangement.lowered.steps:
            plan = StepPlan(step, arrangement, accelerator)
            assert dataflow.admits(plan, mapping.layer(step.name))


def test_a_layer_is_explained_by_what_named_dataflows_cost(network, tmp_path, capsys):
    arguments = [*SMALL, "--candidates=4", "--json", "-o", tmp_path / "out"]
    assert run(network, *arguments) == 0
    layer = found(capsys)["layers"][0]["name"]
    assert run(network, *arguments, f"--explain={layer}") == 0
    value = found(capsys)
    told = {entry["mapping"]: entry for entry in value["explained"]["mappings"]}
    assert set(told) == {"chosen", *(dataflow.value for dataflow in Dataflow)}
    assert told["chosen"]["cycles"] == value["best"]["cycles"]
    assert all(entry["text"] for entry in told.values())


def test_copies_that_some_accelerators_need_are_asked_for_after_the_search(
    network, tmp_path, capsys
):
    arguments = [*SMALL, "--candidates=1", "-o", tmp_path / "out"]
    assert run(network, *arguments, "--explain=op0/residual") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "there is no layer 'op0/residual': known are op0, op2" in said
    assert (tmp_path / "out" / "accelerator.toml").exists()


def test_a_batch_is_searched_written_and_kept_apart(network, tmp_path, capsys):
    out, found_by = tmp_path / "out", {}
    for batch in (1, 4):
        arguments = [*SMALL, "--candidates=6", "--json", f"--batch={batch}", "-o", out]
        assert run(network, *arguments) == 0
        value = found_by[batch] = found(capsys)
        mapping = load_mapping(out / "mapping.json")
        assert mapping.samples == value["batch"] == batch
        accelerator = load_accelerator(out / "accelerator.toml")
        program = compile_network(load(out / "network.celosia"), accelerator, mapping)
        cycles = timing(program, DDR4).cycles
        assert cycles == value["best"]["cycles"]
        assert value["best"]["fps"] == value["clock_mhz"] * 1e6 * batch / cycles
        assert value["best"]["fps"] < value["best"]["bounds"]["fps"] <= value["bound"]["fps"]
        assert value["search"]["evaluated"] == 6
    # What is loaded once for all frames is worth it.
    assert found_by[4]["best"]["fps"] > found_by[1]["best"]["fps"]
    assert run(network, *SMALL, "--candidates=6", "--batch=4", "-o", out, "--explain=op0") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "cycles a start of 4 frames (" in said
    assert "cycles a start of 4 frames (" in (out / "report.html").read_text()


def test_a_search_says_now_and_then_how_it_stands(network, tmp_path, capsys, monkeypatch):
    arguments = [network, *SMALL, "--candidates=3", "-o", tmp_path / "out"]
    for every, told in ((0.0, True), (1000.0, False)):
        monkeypatch.setattr(console, "EVERY", every)
        assert run(*arguments) == 0
        said = capsys.readouterr().err
        assert ("3 considered, 3 evaluated" in said or "3 considered, 0 evaluated" in said) == told
        assert all(line.startswith("random3 on zcu102: best") for line in said.splitlines())


def test_a_second_run_evaluates_nothing_again(network, tmp_path, capsys):
    results = []
    for workers in (1, 2):
        arguments = [*SMALL[:-1], f"--workers={workers}", "--candidates=12", "--json"]
        assert run(network, *arguments, "-o", tmp_path / "out") == 0
        results.append(found(capsys))
    first, second = results
    assert first["search"]["evaluated"] > 0
    assert second["search"]["evaluated"] == 0
    assert second["search"]["from_store"] == first["search"]["evaluated"]
    assert {**first, "search": 0} == {**second, "search": 0}


def test_the_report_is_written_again_from_the_summary(network, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(network, *SMALL, "--candidates=4", "-o", out) == 0
    page = (out / "report.html").read_text()
    (out / "report.html").unlink()
    assert run_command(["report", str(out / "explore.json")]) == 0
    assert (out / "report.html").read_text() == page
    summary = json.loads((out / "explore.json").read_text())
    del summary["bound"]
    (out / "explore.json").write_text(json.dumps(summary))
    assert run_command(["report", str(out / "explore.json")]) == 1
    assert "run 'celosia explore' again" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective=speed"], "--objective 'speed' is unknown: choose fps"),
        (["--device=moon"], "unknown device 'moon'"),
        (["--limit=fps<=3"], "more fps is better"),
        (["--limit=lut<=0"], "every accelerator needs some look-up tables"),
        (["--limit=lut<=900"], "look-up tables, the limit is 900: "),
        (["--explain=nothing"], "there is no layer 'nothing': known are "),
        (["--explain=op1/else"], "there is no layer 'op1/else': known are op0, op1, op2"),
        (["--explain=opp1"], "there is no layer 'opp1' (did you mean 'op1'?): known are op1, op"),
        (["--limit=fps>=1e12"], "limit fps >= 1,000,000,000,000 cannot hold"),
        (["--limit=accuracy>=0.5"], "how accurate random3 is, is not known"),
        (["--objective=accuracy"], "leave accuracy out of --objective and --limit, or take rnet"),
        (["--fix=lanes"], "write knob=value"),
        (["--fix=lanes=8", "--fix=lanes=4"], "--fix names lanes twice"),
        (["--fix=lanes=7"], "knob 'lanes' cannot be 7"),
        (["--fix=speed=7"], "there is no knob 'speed'"),
        (["--dataflow=waves"], "--dataflow 'waves' is unknown: choose output_stationary"),
        (["--strategy=luck"], "--strategy 'luck' is unknown: choose evolution"),
        (["--strategy=exhaustive"], "more than the 1,000,000 that can all be tried"),
        (["--weights=fixed4:100"], "is quantised already"),
        (["--time=0"], "seconds must be above 0"),
        (["--clock=0"], "clock_mhz must be above 0"),
        (["--clock=1e300"], "at most 100,000, not 1e+300"),
        (["--clock=nan"], "clock_mhz must be above 0"),
        (["--memory=fast"], "memory 'fast' is not understood (three numbers, not 1)"),
        (["--memory=1,x,2"], "memory '1,x,2' is not understood (invalid literal"),
        (["--store=nonsense"], "store nonsense is not understood"),
        (["--cluster=junk", "--candidates=2"], "no Dask scheduler with workers answers at junk"),
        (["--cluster=tcp://127.0.0.1:1", "--candidates=2"], "no Dask scheduler"),
        ([*SMALL, "--limit=energy<=0", "--candidates=3"], "is within all limits"),
    ],
)
def test_what_cannot_be_is_refused_in_words(network, tmp_path, capsys, arguments, message):
    assert run(network, *arguments, "-o", tmp_path / "out") == 1
    assert message in " ".join(capsys.readouterr().err.split())
    left = {path.name for path in (tmp_path / "out").glob("*")} - {"explore.sqlite"}
    assert left == set()


def test_a_model_that_is_not_quantised_is_named_as_what_it_is(tmp_path, capsys):
    model = tmp_path / "model.pt2"
    save_model(DigitsNet(), (torch.zeros(1, 1, 8, 8),), model)
    assert run(model, "-o", tmp_path / "out") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"{model} is a model that torch.export wrote, not yet an integer-exact network" in said
    assert "`celosia quantize MODEL.pt2 --calibration INPUTS.npy -o network.celosia`" in said
    torch.save(DigitsNet().state_dict(), model)
    assert run(model, "-o", tmp_path / "out") == 1
    assert "is what torch.save wrote, and no exported" in " ".join(capsys.readouterr().err.split())


def test_networks_that_are_not_there_are_refused(tmp_path, capsys):
    assert run(tmp_path / "none.celosia", "-o", tmp_path / "out") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "built in are rnet, digits, resnet8, resnet20, resnet18" in said


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ("fixed4:90", "--weights: the ratios of weights must add up to 100 %, not 90 %"),
        ("fixed4:60,fixed4:40", "--weights: "),
        ("cube4:100", "--weights: "),
    ],
)
def test_mixes_that_make_no_recipe_are_refused(mix, message, tmp_path, capsys):
    assert run("digits", f"--weights={mix}", "-o", tmp_path / "out") == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_formats_of_a_built_in_network_vary_with_its_accuracy(monkeypatch):
    rng = np.random.default_rng(1)
    images = rng.random((12, 1, 8, 8)).astype(np.float32)
    labels = rng.integers(0, 10, 12)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = DigitsNet().eval()
    work = Workload(
        name="digits", model=model, calibration=images, inputs=images, labels=labels, head=0,
        training=images,
    )  # fmt: skip
    monkeypatch.setattr(networks, "workload", lambda name: work)
    subject = read_subject("digits", ["fixed4:100", "fixed8:100"])
    for variant, name in zip(subject.variants, ("fixed4", "fixed8"), strict=True):
        rows = [fmt for op in variant.network.ops for fmt in getattr(op, "formats", ())]
        assert {fmt.name for fmt in rows} == {name}
        codes = quantise_inputs(variant.network, images)
        outputs = evaluate(variant.network, codes)[variant.network.outputs[0]]
        assert variant.accuracy == (outputs.reshape(12, -1).argmax(1) == labels).mean()

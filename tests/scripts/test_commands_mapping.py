"""``celosia map``: forms, refusals, and that what it writes is what it reads."""

import json

import pytest

from celosia.dataflow.hierarchy.architecture_file import dump_architecture, read_architecture
from celosia.scripts.cli import run_command

LAYER = "16,32,7,7,3,3,1"


def run(capsys, *arguments):
    status = run_command(["map", "--arch", "b", "--layer", LAYER, *arguments])
    return status, capsys.readouterr()


@pytest.mark.parametrize("objective", ["energy", "edp", "cycles", "dram", "energy=1,cycles=9"])
def test_the_answer_as_json_can_be_priced_again(capsys, tmp_path, objective):
    status, said = run(capsys, "--objective", objective, "--json")
    assert status == 0
    answer = json.loads(said.out)
    assert answer["proven"]
    assert answer["lower_bound"] == answer["value"]
    assert answer["gap"] == 0
    assert answer["cycles"] == max(answer["limits"].values())
    path = tmp_path / "map.json"
    path.write_text(said.out)
    status, said = run(capsys, "--objective", objective, "--mapping", str(path), "--json")
    assert status == 0
    again = json.loads(said.out)
    for key in ("value", "energy_pj", "cycles", "edp", "accesses", "occupancy", "mapping"):
        assert again[key] == answer[key]


def test_the_answer_is_the_same_wherever_mappings_are_priced(capsys):
    answers = []
    for device in ([], ["--device", "cpu"], ["--device", "auto"]):
        status, said = run(capsys, "--json", *device)
        assert status == 0
        answers.append(json.loads(said.out))
    for key in answers[0].keys() - {"cpu_seconds", "priced"}:
        assert answers[0][key] == answers[1][key] == answers[2][key]


def test_tables_for_people(capsys):
    status, said = run(capsys, "--factors", "imperfect")
    assert status == 0
    for word in ("lower bound", "proven", "dram", "on columns K in"):
        assert word in said.out


def test_an_own_architecture(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(dump_architecture(read_architecture("b")).replace("words = 32", "words = 31"))
    assert run_command(["map", "--arch", str(path), "--layer", LAYER, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["occupancy"]["acc"] <= 31


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--factors", "all"], "--factors 'all' is unknown: choose perfect, imperfect"),
        (["--objective", "joy"], "objective 'joy': "),
        (["--arch", "nowhere.toml"], "there is no architecture file nowhere.toml"),
        (["--layer", "1,2"], "layer '1,2' is not understood"),
        (["--device", "abacus"], "--device 'abacus': torch cannot work there (Expected one of"),
        (["--device", "meta"], "--device 'meta': torch cannot work there (it keeps no values)"),
    ],
)
def test_what_is_wrong_is_said(capsys, arguments, said):
    status, out = run(capsys, *arguments)
    assert status == 1
    assert said in out.err


def test_a_mapping_that_does_not_fit_says_by_how_much(capsys, tmp_path):
    status, said = run(capsys, "--json")
    answer = json.loads(said.out)
    path = tmp_path / "map.json"
    for step in answer["mapping"]["steps"]:
        if step.get("axis") == "columns":
            step["axis"] = "rows"
    path.write_text(json.dumps(answer))
    status, said = run(capsys, "--mapping", str(path))
    assert status == 1
    assert "axis 'rows' spreads C, not K" in said.err


@pytest.mark.parametrize("tool", ["timeloop", "zigzag", "scalesim", "accelforge"])
def test_files_for_other_tools(capsys, tmp_path, tool):
    folder = tmp_path / tool
    arguments = ["--arch", "a", "--layer", LAYER, "--to", tool, "-o", str(folder), "--json"]
    assert run_command(["export", *arguments]) == 0
    names = json.loads(capsys.readouterr().out)["files"]
    assert len(names) == 3
    assert all(folder.joinpath(name).read_text() for name in names)


@pytest.mark.parametrize("tool", ["timeloop", "zigzag", "accelforge"])
def test_tools_without_masked_tiles_get_tiles_that_divide(capsys, tmp_path, tool):
    arch = tmp_path / "mine.toml"
    arch.write_text(dump_architecture(read_architecture("b")).replace('"perfect"', '"imperfect"'))
    arguments = ["--arch", arch, "--layer", "5,34,5,5,3,3,1", "--to", tool, "-o", tmp_path / "x"]
    assert run_command(["export", *map(str, arguments)]) == 0
    assert run_command(["export", *map(str, arguments), "--factors=imperfect"]) == 1
    assert "wants tiles that divide" in capsys.readouterr().err


def test_a_tool_that_is_not_known(capsys, tmp_path):
    arguments = ["--arch", "a", "--layer", LAYER, "--to", "cosa", "-o", str(tmp_path / "x")]
    assert run_command(["export", *arguments]) == 1
    assert "--to 'cosa' is unknown: choose timeloop, zigzag" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()

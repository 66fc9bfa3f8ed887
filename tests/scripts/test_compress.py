"""celosia compress: from a model file to a network that runs on the engine bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.archive import save_model
from celosia.models.errors import CelosiaError
from celosia.models.storage import load
from celosia.scripts.cli import run_command
from celosia.scripts.compress import read_densities, read_labels, read_masks


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small model that takes images, data and classes."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 40), nn.ReLU(), nn.Linear(40, 6)).eval()
    save_model(module, (torch.randn(1, 1, 6, 6),), folder / "net.pt2")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.random((40, 1, 6, 6), np.float32))
    np.save(folder / "labels.npy", rng.integers(0, 6, 40))
    return folder


def compress(files, output, *more):
    return run_command(
        ["compress", str(files / "net.pt2"), "--calibration", str(files / "x.npy"),
         "-o", str(output), "--epochs", "1", "--stages", "1", "--pes", "4", *more]
    )  # fmt: skip


def simulate(files, network, engine):
    return run_command(
        ["simulate", str(network), "--accelerator", engine, "--inputs", str(files / "x.npy"),
         "--json"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        ["--labels", "labels.npy", "--density", "0.2"],
        ["--balanced", "--density", "0.3,3=0.5", "--codebook", "5"],
        ["--permute", "--start", "density"],
        ["--permute", "--balanced", "--window", "4"],
    ],
)
def test_what_is_compressed_runs_on_the_engine(files, tmp_path, capsys, more):
    more = [str(files / word) if word.endswith(".npy") else word for word in more]
    assert compress(files, tmp_path / "n.celosia", *more, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert [layer["name"] for layer in value["layers"]] == ["1", "3"]
    assert value["all"]["ratio"] > 1
    assert value["pes"] == 4
    assert simulate(files, tmp_path / "n.celosia", "eie_tiny") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["samples"] == 40
    assert result["bit_exact"]
    assert result["cycles_exact"]
    assert result["counters_exact"]


def test_weights_without_a_codebook(files, tmp_path, capsys):
    engine = tmp_path / "plain.toml"
    engine.write_text(
        'engine = "eie"\nname = "plain"\n[array]\npes = 4\n'
        "[widths]\nweight = 6\ncodebook = false\nactivation = 8\naccumulator = 24\n[memories]\n"
        "entries = 1024\npointers = 128\nbiases = 32\nactivations = 16\naccumulators = 16\n"
        "window = 16\n[bus]\ndata_bits = 128\n"
    )
    more = ["--weight-bits", "6", "--activation-bits", "7", "--accumulator-bits", "24"]
    assert compress(files, tmp_path / "n.celosia", *more) == 0
    assert load(tmp_path / "n.celosia").ops[0].format.name == "fixed6"
    out = capsys.readouterr().out
    assert "balance" in out
    assert "wrote" in out
    assert simulate(files, tmp_path / "n.celosia", str(engine)) == 0
    # An engine with codebooks says what it takes.
    assert simulate(files, tmp_path / "n.celosia", "eie_tiny") == 1
    assert "a codebook, of up to 4 bits" in capsys.readouterr().err.replace("\n", " ")


def test_masks_of_pytorchs_pruning(files, tmp_path):
    mask = torch.zeros(40, 36)
    mask[:, ::6] = 1
    state = {"1.weight_mask": mask, "1.bias": torch.zeros(40)}
    torch.save(state, tmp_path / "state.pt")
    np.savez(tmp_path / "masks.npz", **{"1": mask.numpy()})
    assert (read_masks(tmp_path / "state.pt")["1"] == mask.numpy()).all()
    assert list(read_masks(tmp_path / "state.pt")) == ["1"]
    torch.save({"1.weight": mask}, tmp_path / "plain.pt")
    assert list(read_masks(tmp_path / "plain.pt")) == ["1"]
    for name in ("state.pt", "masks.npz"):
        output = tmp_path / f"{name}.celosia"
        assert compress(files, output, "--mask", str(tmp_path / name)) == 0
        matrix = load(output).ops[0].matrix.dense()
        assert not matrix[:, mask[0].numpy() == 0].any()
        assert matrix[:, ::6].all(axis=1).mean() > 0.8


def test_files_of_masks_and_labels_that_are_none(tmp_path):
    np.save(tmp_path / "one.npy", np.ones((3, 3)))
    (tmp_path / "bad.pt").write_bytes(b"no file of tensors")
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    for name in ("one.npy", "list.pt"):
        with pytest.raises(CelosiaError, match="holds no masks by name"):
            read_masks(tmp_path / name)
    with pytest.raises(CelosiaError, match="is no file of tensors"):
        read_masks(tmp_path / "bad.pt")
    with pytest.raises(CelosiaError, match="cannot read"):
        read_masks(tmp_path / "missing.pt")
    with pytest.raises(CelosiaError, match="classes are integers"):
        read_labels(tmp_path / "one.npy")


def test_densities_are_read():
    assert read_densities("0.1") == (0.1, {})
    assert read_densities("0.1, fc3=.5") == (0.1, {"fc3": 0.5})
    assert read_densities("a.b=0.2,c=1e-2") == (None, {"a.b": 0.2, "c": 0.01})
    for text in ("", "10%", "0.1,0.2", "fc=", "-0.1"):
        with pytest.raises(CelosiaError, match=r"densities .* are not understood"):
            read_densities(text)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--density", "1.5"], "density must be above 0 and at most 1, not 1.5"),
        (["--density", "0.1,fc9=0.5"], "a density for a layer 'fc9', the model has '1', '3'"),
        (["--codebook", "300"], "clusters must be 2 to 256"),
        (["--codebook", "0"], "clusters must be 2 to 256"),
        (["--codebook", "16", "--weight-bits", "8"], "give either a codebook"),
        (["--window", "4"], "--window is of --balanced"),
        (["--pes", "300"], "pes must be an integer in 1..256"),
        (["--start", "middle"], "--start 'middle' is unknown: choose linear, density, random"),
        (["--head", "1"], "head must be the position of an output"),
        (["--seed", "-1", "--start", "random"], "seed must be in 0.."),
    ],
)
def test_refusals(files, tmp_path, capsys, more, message):
    assert compress(files, tmp_path / "n.celosia", *more) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "n.celosia").exists()


@pytest.mark.parametrize("command", [["bitstream"], ["bench", "sim", "--accelerator"]])
def test_commands_of_the_dense_engine_say_so(tmp_path, capsys, command):
    more = ["-o", str(tmp_path / "out")] if command == ["bitstream"] else []
    assert run_command([*command, "eie_tiny", *more]) == 1
    assert "eie_tiny is no dense engine, which this command is for" in capsys.readouterr().err

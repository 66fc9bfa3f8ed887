"""celosia compress-lstm: from a state dictionary to a network that runs in RTL bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from celosia.dataflow.eie.accelerator import CellUnit
from celosia.dataflow.eie.presets import TINY
from celosia.dataflow.engines import dump_engine
from celosia.models.lstm import Lstm
from celosia.models.storage import load
from celosia.scripts.cli import run_command


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An LSTM's state, a sequence, and an engine with a cell unit."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    torch.save(nn.LSTM(6, 8).state_dict(), folder / "lstm.pt")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.normal(0, 1, (5, 6)))
    np.savez(folder / "two.npz", x=np.zeros((5, 6)))
    torch.save([1], folder / "list.pt")
    (folder / "engine.toml").write_text(
        dump_engine(replace(TINY, name="eie_cells", cell=CellUnit()))
    )
    return folder


def compress(files, *more, state="lstm.pt", x="x.npy"):
    return run_command(
        ["compress-lstm", str(files / state), "--calibration", str(files / x),
         "-o", str(files / "out.celosia"), *more]
    )  # fmt: skip


def test_what_is_compressed_runs_on_the_engine(files, capsys):
    assert compress(files, "--density", "0.5", "--steps", "3", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["inputs"] == {"x": [6, 3, 1], "h0": [8, 1, 1], "c0": [8, 1, 1]}
    network = load(files / "out.celosia")
    op = network.ops[0]
    assert isinstance(op, Lstm)
    assert value["products"] == network.macs == 3 * len(op.matrix.values)
    rng = np.random.default_rng(1)
    arrays = {name: rng.normal(0, 0.3, (2, *shape)) for name, shape in value["inputs"].items()}
    np.savez(files / "inputs.npz", **arrays)
    status = run_command(
        ["simulate", str(files / "out.celosia"), "--accelerator", str(files / "engine.toml"),
         "--inputs", str(files / "inputs.npz"), "--json"]
    )  # fmt: skip
    assert status == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bit_exact"]
    assert found["cycles_predicted"] == found["cycles_measured"]


def test_plain_weights_for_people(files, capsys):
    assert compress(files, "--weight-bits", "8") == 0
    assert "wrote" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "given", "message"),
    [
        (["--codebook", "4", "--weight-bits", "4"], {}, "not both"),
        (["--density", "0"], {}, "density must be above 0"),
        ([], {"x": "two.npz"}, "the sequence is one array, in a .npy file"),
        ([], {"state": "list.pt"}, "holds no tensors by name: write torch.save"),
        (["--segments", "100"], {}, "knots must be 17, 33"),
        (["--density", "0.5,l7=0.2"], {}, "a density for a layer 'l7', the LSTM has 'l0'"),
    ],
)
def test_what_is_refused(files, capsys, more, given, message):
    assert compress(files, *more, **given) == 1
    assert message in capsys.readouterr().err

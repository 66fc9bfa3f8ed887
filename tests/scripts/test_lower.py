"""celosia lower: both networks are written, or neither."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.archive import export_model
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe
from celosia.models.storage import load, save
from celosia.scripts.cli import run_command


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.PReLU(init=-0.2), nn.MaxPool2d(2)).eval()
    graph = import_program(export_model(module, (torch.zeros(1, 1, 6, 6),)), "net")
    x = np.random.default_rng(0).normal(0, 1, (8, 1, 6, 6)).astype(np.float32)
    file = tmp_path_factory.mktemp("files") / "net.celosia"
    save(quantize(graph, x, Recipe(activation_bits=8)), file)
    return file


def lower(network, output, shortened):
    return run_command(["lower", str(network), "-o", str(output), "--shortened", str(shortened)])


def test_both_networks_are_the_same(network, tmp_path):
    assert lower(network, tmp_path / "low", tmp_path / "short") == 0
    lowered, short = load(tmp_path / "low"), load(tmp_path / "short")
    codes = np.random.default_rng(1).integers(-128, 128, (8, 1, 6, 6))
    golden = evaluate(short, {short.inputs[0]: codes})[short.outputs[0]]
    flat = {lowered.inputs[0]: codes.reshape(8, -1, 1, 1)}
    found = evaluate(lowered, flat)[lowered.outputs[0]]
    assert (found.reshape(golden.shape) == golden).all()


def test_what_cannot_be_written_leaves_nothing_behind(network, tmp_path, capsys):
    low = tmp_path / "low"
    (tmp_path / "file").write_text("")
    assert lower(network, low, low) == 1
    assert "--output and --shortened name the same file" in capsys.readouterr().err
    assert lower(network, low, tmp_path / "file" / "short") == 1
    assert "Not a directory" in " ".join(capsys.readouterr().err.split())
    assert not low.exists()

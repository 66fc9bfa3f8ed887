"""What the search finds is what the RTL does, for networks and devices that people use."""

import json

import numpy as np
import pytest

from celosia.models.formats import parse_format
from celosia.models.random_network import random_inputs, random_network
from celosia.models.storage import load, save
from celosia.scripts.cli import run_command

FEW = ("--workers=1", "--candidates=6", "--batch=3")


def explore(capsys, *arguments):
    status = run_command(["explore", *map(str, arguments), "--verify", "--json"])
    return status, json.loads(capsys.readouterr().out)


def exact(value):
    found = value["verified"]
    return found["holds"] and found["cycles_measured"] == value["best"]["cycles"]


def test_a_small_batch_is_verified_and_simulated_again(tmp_path, capsys):
    network, out = tmp_path / "small.celosia", tmp_path / "out"
    save(random_network(3, (parse_format("fixed4"),)), network)
    sizes = {"columns": 4, "lanes": 4, "pixels": 1, "data_bits": 64, "scalable": "none"}
    fixed = [f"--fix={name}={value}" for name, value in sizes.items()]
    status, value = explore(capsys, network, *fixed, *FEW, "-o", out)
    assert status == 0
    assert exact(value)
    assert list((out / "rtl").rglob("*.v"))
    assert "cycles in the RTL" in (out / "report.html").read_text()
    # The files alone say what ran: another start of three samples takes as long.
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, **random_inputs(load(network), 6, seed=9))
    arguments = [out / "network.celosia", f"--accelerator={out / 'accelerator.toml'}"]
    arguments += [f"--mapping={out / 'mapping.json'}", f"--inputs={inputs}", "--codes", "--json"]
    assert run_command(["simulate", *map(str, arguments)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["samples"] == 6
    assert again["cycles_measured"] == value["best"]["cycles"]


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("device", ["zcu102", "ecp5-85k"])
@pytest.mark.parametrize("network", ["rnet", "resnet18", "mobilenet_v2"])
def test_built_in_networks_are_verified(network, device, tmp_path, capsys):
    status, value = explore(
        capsys, network, f"--device={device}", "--candidates=24", "-o", tmp_path / "out"
    )
    assert status == 0
    assert exact(value)

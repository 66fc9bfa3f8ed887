"""Commands on boards."""

import json

import pytest

from celosia.dataflow.presets import preset
from celosia.fpga.driver import Deployment
from celosia.models.random_network import random_network
from celosia.models.storage import save
from celosia.scripts.cli import run_command


def test_deploy(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    formats = tuple(group.format for group in preset("tiny").array.columns)
    save(network := random_network(2, formats), tmp_path / "network.npz")
    out = tmp_path / "deployed.npz"
    command = ["deploy", str(tmp_path / "network.npz"), "--accelerator", "tiny", "-o", str(out)]
    assert run_command([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    made = Deployment.load(out)
    assert made.inputs == network.inputs
    assert said["fingerprint"] == f"{made.fingerprint:032x}"
    assert said["memory_bytes"] == made.image.size
    assert run_command(command) == 0
    assert "for tiny" in capsys.readouterr().out

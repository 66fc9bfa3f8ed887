"""Commands on boards."""

import json
from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator_file import dump_accelerator
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
    inputs = [tensor for tensor in said["tensors"] if tensor["is_input"]]
    assert [tensor["name"] for tensor in inputs] == list(network.inputs)
    first = network.tensor(network.inputs[0])
    assert inputs[0]["shape"] == list(first.shape)
    assert (inputs[0]["low"], inputs[0]["high"]) == (first.format.low, first.format.high)
    assert run_command(command) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "for tiny" in shown
    assert f"input {first.name}: (" in shown
    assert f"codes {first.format.low} to {first.format.high}" in shown


def test_run_needs_a_port_and_a_board(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    formats = tuple(group.format for group in preset("ecp5").array.columns)
    save(network := random_network(2, formats), tmp_path / "network.npz")
    shapes = {name: (1, *network.tensor(name).shape) for name in network.inputs}
    np.savez(tmp_path / "x.npz", **{name: np.zeros(shape, int) for name, shape in shapes.items()})
    command = ["run", str(tmp_path / "network.npz"), "--codes", "--inputs", str(tmp_path / "x.npz")]
    assert run_command([*command, "--port", "/dev/no-such-port"]) == 1
    assert "cannot open the serial port /dev/no-such-port" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run_command([*command, "--port", "rtl", "--metrics", str(tmp_path / "file/m.json")]) == 1
    assert "file: Not a directory" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "two.toml").write_text(
        dump_accelerator(replace(preset("ecp5"), bus=replace(preset("ecp5").bus, ports=2)))
    )
    two = ["--port", "rtl", "--accelerator", str(tmp_path / "two.toml")]
    assert run_command([*command, *two]) == 1
    assert "one memory: set ports = 1" in " ".join(capsys.readouterr().err.split())
    assert run_command([*command, "--board", "zcu102"]) == 1
    assert "known are ecpix5, ulx3s" in capsys.readouterr().err

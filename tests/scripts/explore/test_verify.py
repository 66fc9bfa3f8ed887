"""What the search finds is what the RTL does, for networks and devices that people use."""

import json

import pytest

from celosia.models.formats import parse_format
from celosia.models.random_network import random_network
from celosia.models.storage import save
from celosia.scripts.cli import run_command


def explore(capsys, *arguments):
    status = run_command(["explore", *map(str, arguments), "--verify", "--json"])
    return status, json.loads(capsys.readouterr().out)


def exact(value):
    found = value["verified"]
    return found["holds"] and found["cycles_measured"] == value["best"]["cycles"]


def test_a_small_one_is_verified(tmp_path, capsys):
    network, out = tmp_path / "small.celosia", tmp_path / "out"
    save(random_network(3, (parse_format("fixed4"),)), network)
    sizes = {"columns": 4, "lanes": 4, "pixels": 1, "data_bits": 64, "scalable": "none"}
    fixed = [f"--fix={name}={value}" for name, value in sizes.items()]
    status, value = explore(capsys, network, *fixed, "--workers=1", "--candidates=6", "-o", out)
    assert status == 0
    assert exact(value)
    assert list((out / "rtl").rglob("*.v"))
    assert "cycles in the RTL" in (out / "report.html").read_text()


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

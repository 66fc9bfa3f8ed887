"""``celosia mix``: the densest mix of columns on a device."""

from __future__ import annotations

import json

from celosia.scripts.cli import run_command


def test_mix(capsys) -> None:
    assert run_command(["mix", "--device", "zcu102", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [part["circuit"] for part in value["columns"]] == ["dsp", "luts"]
    assert value["products"] == sum(part["products"] for part in value["columns"])
    assert value["products"] % 64 == 0
    assert value["dsp"] <= 2520
    assert value["lut"] <= 0.6 * 274_080
    assert run_command(["mix", "--weights", "fixed8", "--activation-bits", "8"]) == 0
    assert "fixed8 x 8 bits (dsp)" in capsys.readouterr().out


def test_unknown_names(capsys) -> None:
    assert run_command(["mix", "--device", "none"]) != 0
    assert "unknown device" in capsys.readouterr().err
    assert run_command(["mix", "--weights", "fixed9"]) != 0
    assert "no column was measured with weights of fixed9" in " ".join(
        capsys.readouterr().err.split()
    )

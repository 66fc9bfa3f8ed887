"""The driver with an engine under cocotb, between models of its buses that nobody here wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.presets import preset
from celosia.models.errors import CelosiaError
from celosia.sim.cocotb.run import STALL_COUNTERS
from celosia.sim.cocotb.script import run_script
from celosia.sim.transport import NativeTransport

from .engines import case, simulator, user_script

SCRIPT = Path(__file__).with_name("cocotb_script.py")


def test_users_script(tmp_path: Path) -> None:
    what = case()
    what.deployment.save(tmp_path / "program.npz")
    np.savez(tmp_path / "inputs.npz", **{name: x[:2] for name, x in what.inputs.items()})
    run_script(preset("tiny"), SCRIPT, [str(tmp_path)], stall=0.2)
    with np.load(tmp_path / "outputs.npz") as outputs:
        for name in what.program.outputs:
            assert np.array_equal(outputs[name], what.golden[name][:2])
    counters = json.loads((tmp_path / "counters.json").read_text())
    native = user_script(NativeTransport(simulator()), what)
    timed = {counter.name.lower() for counter in STALL_COUNTERS}
    assert {k: v for k, v in counters.items() if k not in timed} == {
        k: v for k, v in native.items() if k not in timed
    }


def test_script_that_fails(tmp_path: Path) -> None:
    with pytest.raises(CelosiaError, match=r"inputs\.npz"):
        run_script(preset("tiny"), SCRIPT, [str(tmp_path)])
    with pytest.raises(ValueError, match=r"^stall must be 0 to 0.9, not 1$"):
        run_script(preset("tiny"), SCRIPT, stall=1)

"""Views of a trace name signals that are in it, as a reader of waveforms that nobody here wrote
finds them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import pywellen

from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Unit
from celosia.models.random_network import random_network
from celosia.sim.locate import Location, trace_window
from celosia.sim.waves import write_views

from .faulty import ACCELERATOR, FaultySimulator
from .test_run import FORMATS, sample_inputs


@pytest.mark.parametrize("unit", [None, Unit.POST])
def test_views_show_what_is_there(unit: Unit | None, tmp_path: Path) -> None:
    simulator = FaultySimulator()
    network = random_network(1, FORMATS)
    program, inputs = compile_network(network, ACCELERATOR), sample_inputs(network, 1, 3)
    run = simulator.run(program, inputs)
    trace = tmp_path / "x.fst"
    location = trace_window(simulator, program, inputs, run, 0, (200, 300), trace)
    views = write_views(simulator, location, (220, 250), unit)
    found = pywellen.Waveform(str(trace))
    bits = {var.full_name: var.bitwidth for var in found.all_vars()}
    shown = re.findall(r"^(engine\.[\w.]+)(?:\[(\d+):0\])?$", views.gtkwave.read_text(), re.M)
    assert len(shown) > 30
    for name, high in shown:
        assert bits[name] == int(high or 0) + 1, name
    listed = re.findall(r"^variable_add (\S+)$", views.surfer.read_text(), re.M)
    assert listed == [name for name, _ in shown]
    units = {name.split(".")[3] for name, _ in shown if name.count(".") > 3}
    assert ("load" in units) == (unit is None)
    assert "post" in units
    assert f'[dumpfile] "{trace}"' in views.gtkwave.read_text()
    # A hundred cycles of ten units, and the cursor is in them.
    (clock,) = (var for var in found.all_vars() if var.full_name == "engine.aclk")
    times = [time for time, _ in clock.tv]
    assert 0 < location.first_time <= times[0]
    assert times[-1] <= location.first_time + 1001
    cursor = int(re.findall(r"cursor_set (\d+)", views.surfer.read_text())[0])
    assert cursor == location.first_time + 200
    assert trace.stat().st_size < 200_000


def test_no_trace_is_refused() -> None:
    with pytest.raises(ValueError, match="location must have a trace"):
        write_views(FaultySimulator(), Location(cycle=1, trace=None), (0, 1), None)

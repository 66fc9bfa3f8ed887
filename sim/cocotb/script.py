"""A user's script, with an engine under cocotb as its board."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from celosia.dataflow.engines import Description
from celosia.rtl.core import core_name
from celosia.sim.cocotb.run import build_bench, launch


def run_script(
    accelerator: Description,
    script: str | Path,
    arguments: Sequence[str] = (),
    *,
    memory: int = 1 << 20,
    stall: float = 0.0,
) -> None:
    """Call the function ``main`` of ``script`` with a transport to an engine and ``arguments``.

    What it does with the transport (:class:`celosia.fpga.driver.Accelerator` takes it) it does as
    on a board; results it writes to files.

    Parameters
    ----------
    accelerator : Description
        The engine; with one memory port.
    script : str or Path
        A Python file.
    arguments : sequence of str
        What ``main`` is given after the transport.
    memory : int
        Bytes of the engine's memory, from address 0 on.
    stall : float
        About how often each channel of its buses pauses, 0 to 0.9.

    Raises
    ------
    MissingToolError
        When cocotb, cocotbext-axi, make, the compiler or Verilator are missing.
    CelosiaError
        When the script raises: with the end of the log.
    ValueError
        If ``stall`` is out of its range.
    """
    if not 0 <= stall <= 0.9:
        raise ValueError(f"stall must be 0 to 0.9, not {stall!r}")
    folder = build_bench(accelerator)
    task = {
        "script": str(Path(script).resolve()),
        "arguments": [*arguments],
        "memory": memory,
        "stall": stall,
    }
    with tempfile.TemporaryDirectory(prefix="celosia-cocotb-") as name:
        (Path(name) / "task.json").write_text(json.dumps(task))
        launch("test", "script", core_name(accelerator), str(folder), name, cwd=Path(name))

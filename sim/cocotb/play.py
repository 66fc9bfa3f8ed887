"""A module on its own under cocotb, driven from outside Amaranth in every cycle."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from celosia.sim.cocotb.run import build_module, launch


def play(
    verilog: str, top: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Give the module ``top`` of ``verilog`` its inputs; return what its outputs were.

    Parameters
    ----------
    verilog, top : str
        What to build. It has a clock ``clk``; a reset ``rst``, if there is one, comes first.
    inputs : mapping of str to numpy.ndarray
        The bytes of every input port, the lowest first, uint8 (cycles, bytes).
    outputs : mapping of str to int
        The bits of each output to read.

    Returns
    -------
    dict of str to numpy.ndarray
        The bytes of each output before the clock's edge of each cycle, uint8 (cycles, bytes).

    Raises
    ------
    MissingToolError
        When cocotb, make, the compiler or Verilator are missing.
    CelosiaError
        When the bench fails: with the end of its log.
    ValueError
        If inputs have not the same number of cycles.
    """
    lengths = {len(words) for words in inputs.values()}
    if len(lengths) != 1:
        raise ValueError(f"inputs must have the same number of cycles, not {sorted(lengths)}")
    (cycles,) = lengths
    folder = build_module(verilog, top)
    task = {f"in_{name}": words for name, words in inputs.items()}
    for name, bits in outputs.items():
        task[f"out_{name}"] = np.zeros((cycles, -(-bits // 8)), np.uint8)
    with tempfile.TemporaryDirectory(prefix="celosia-cocotb-") as name:
        work = Path(name)
        np.savez(work / "task.npz", allow_pickle=False, **task)
        launch("test", "module", top, str(folder), str(work), cwd=work)
        with np.load(work / "result.npz") as result:
            return {output: result[output] for output in outputs}

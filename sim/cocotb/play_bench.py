"""The bench that runs inside cocotb: plays inputs into a module and writes what its outputs are.

Started by :mod:`celosia.sim.cocotb.launch`, which says in the environment where the task lies.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from celosia.sim.cocotb.bench import TASK

_PERIOD_NS = 10


@cocotb.test()
async def plays(dut: Any) -> None:
    """Give every input its value in each cycle; keep every output before the cycle's edge."""
    folder = Path(os.environ[TASK])
    with np.load(folder / "task.npz") as task:
        given = {name: task[name] for name in task.files}
    outputs = [name.removeprefix("out_") for name in given if name.startswith("out_")]
    inputs = {
        getattr(dut, name.removeprefix("in_")): words
        for name, words in given.items()
        if name.startswith("in_")
    }
    Clock(dut.clk, _PERIOD_NS, unit="ns").start()
    if hasattr(dut, "rst"):
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
        dut.rst.value = 0
    got = {name: np.zeros_like(given[f"out_{name}"]) for name in outputs}
    for cycle in range(len(next(iter(inputs.values())))):
        await FallingEdge(dut.clk)
        for port, words in inputs.items():
            port.value = int.from_bytes(words[cycle].tobytes(), "little")
        await ReadOnly()
        for name, words in got.items():
            value = getattr(dut, name).value.to_unsigned()
            words[cycle] = np.frombuffer(value.to_bytes(words.shape[1], "little"), np.uint8)
    np.savez(folder / "result.npz", allow_pickle=False, **got)

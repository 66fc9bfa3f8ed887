"""The bench that runs inside cocotb: one unit, its operands cycle by cycle, with stalls.

Started by :mod:`celosia.sim.cocotb.launch`, which says in the environment where the task lies.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from celosia.sim.cocotb.bench import TASK, stalls

_PERIOD_NS = 10


@cocotb.test()
async def adds_up(dut: Any) -> None:
    """Step through the task's operands, in stalls on others; write the total after each step."""
    folder = Path(os.environ[TASK])
    with np.load(folder / "task.npz") as task:
        operands = {name: task[name] for name in ("weights", "activations")}
        clears, seed, probability = task["clears"], int(task["seed"]), float(task["stall"])
    source, pauses = random.Random(seed), stalls(seed, probability)
    dut.rst.value = 1
    dut.step.value = 0
    dut.clear.value = 0
    Clock(dut.clk, _PERIOD_NS, unit="ns").start()
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    totals = []
    for cycle, clear in enumerate(clears):
        while next(pauses):
            dut.step.value = dut.clear.value = 0
            for name in operands:
                port = getattr(dut, name)
                port.value = source.getrandbits(len(port))
            await FallingEdge(dut.clk)
        dut.step.value, dut.clear.value = 1, int(clear)
        for name, words in operands.items():
            getattr(dut, name).value = int.from_bytes(words[cycle].tobytes(), "little")
        await FallingEdge(dut.clk)
        totals.append(dut.total.value.to_signed())
    np.savez(folder / "result.npz", totals=np.array(totals, np.int64))

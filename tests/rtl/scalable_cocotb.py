"""The bench that runs inside cocotb: words from a file into a unit, with pauses on both sides."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge


@cocotb.test()
async def sums_are_golden(dut: Any) -> None:
    """Every word's dot product comes once, in order, whatever the pauses."""
    with np.load(Path(os.environ["CELOSIA_WORDS"])) as task:
        words = [int(text) for text in task["words"]]
        expected = task["sums"].tolist()
        pauses = random.Random(int(task["seed"]))
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value, dut.i_valid.value, dut.o_ready.value = 1, 0, 0
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    got: list[int] = []
    offered, holding = 0, False
    for _ in range(200 * len(words)):
        # What is offered stays until it is taken.
        holding = offered < len(words) and (holding or pauses.random() < 0.6)
        ready = pauses.random() < 0.3
        dut.i_valid.value, dut.o_ready.value = holding, ready
        dut.i_payload.value = words[min(offered, len(words) - 1)]
        await ReadOnly()
        taken = holding and bool(dut.i_ready.value)
        if ready and dut.o_valid.value:
            got.append(dut.o_payload.value.to_signed())
        await RisingEdge(dut.clk)
        offered, holding = offered + taken, holding and not taken
        if len(got) == len(words):
            break
    assert got == expected

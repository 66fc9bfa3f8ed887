"""The bench that runs inside cocotb: a user's script with an engine as its board.

Started by :mod:`celosia.sim.cocotb.launch`, which says in the environment where the task lies.
"""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge, resume
from cocotb.triggers import RisingEdge, SimTimeoutError, with_timeout
from cocotbext.axi import AxiLiteMaster, AxiRam

from celosia.sim.cocotb.bench import PERIOD_NS, TASK, channels, connect, reset, stalls

_CYCLES_A_SECOND = 200_000
"""What a wait's seconds count as: more than this simulation runs, so that patience is bounded."""


class CocotbTransport:
    """The way to an engine under cocotb, for a script that runs in a thread beside it."""

    def __init__(self, dut: Any, control: AxiLiteMaster, ram: AxiRam) -> None:
        self._dut = dut
        self._control = control
        self._ram = ram

    @resume  # type: ignore[untyped-decorator, unused-ignore]
    async def read_register(self, offset: int) -> int:
        """Return the 32-bit register at byte ``offset``."""
        return int(await self._control.read_dword(offset))

    @resume  # type: ignore[untyped-decorator, unused-ignore]
    async def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte ``offset``."""
        await self._control.write_dword(offset, value)

    def place(self, size: int, *, ports: int, beat_bytes: int) -> tuple[int, tuple[int, ...]]:
        """Use the memory from address 0 on."""
        if ports != 1 or size > self._ram.size:
            raise ValueError(f"{size} bytes behind {ports} ports of {beat_bytes} bytes do not fit")
        return 0, ()

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Return ``size`` bytes from ``address`` on."""
        contents: Any = self._ram.read(address, size)
        return np.frombuffer(contents, np.uint8)

    def write_memory(self, address: int, contents: np.ndarray) -> None:
        """Write ``contents`` from ``address`` on."""
        self._ram.write(address, contents.tobytes())

    @resume  # type: ignore[untyped-decorator, unused-ignore]
    async def wait(self, seconds: float) -> bool:
        """Wait for the interrupt."""
        if int(self._dut.interrupt.value):
            return True
        cycles = max(1, int(seconds * _CYCLES_A_SECOND))
        try:
            await with_timeout(RisingEdge(self._dut.interrupt), cycles * PERIOD_NS, "ns")
        except SimTimeoutError:
            return False
        return True

    def close(self) -> None:
        """Do nothing: the simulation ends with the script."""


@cocotb.test()
async def runs_a_script(dut: Any) -> None:
    """Call the function ``main`` of the task's script with a transport and its arguments."""
    task = json.loads((Path(os.environ[TASK]) / "task.json").read_text())
    control, (ram,) = connect(dut, [task["memory"]])
    await reset(dut)
    if task["stall"]:
        for seed, channel in enumerate(channels(control, [ram])):
            channel.set_pause_generator(stalls(seed, task["stall"]))
    main = runpy.run_path(task["script"])["main"]
    await bridge(main)(CocotbTransport(dut, control, ram), *task["arguments"])

"""The bench that runs inside cocotb: one program, with random stalls on every channel.

Started by :mod:`celosia.sim.cocotb.launch`, which says in the environment where the task lies.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, SimTimeoutError, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from celosia.rtl.registers import COUNTERS_OFFSET, STRIPES_OFFSET

TASK = "CELOSIA_COCOTB_TASK"
"""Environment variable: the folder that holds ``task.npz``; ``result.npz`` is written there."""

PERIOD_NS = 10
_START = 1
_DONE = 2


def stalls(seed: int, probability: float) -> Iterator[bool]:
    """Yield for each cycle whether a channel pauses: bursts of pauses and of none."""
    source = random.Random(seed)
    while True:
        share = source.choice((0.0, probability, min(1.0, 2 * probability)))
        yield from (source.random() < share for _ in range(source.randrange(1, 40)))


def channels(control: AxiLiteMaster, rams: list[AxiRam]) -> list[Any]:
    """Return the channels of all ports: five of each."""
    memories = [half for ram in rams for half in (ram.write_if, ram.read_if)]
    ports = (control.write_if, control.read_if, *memories)
    names = ("aw_channel", "w_channel", "b_channel", "ar_channel", "r_channel")
    return [getattr(port, name) for port in ports for name in names if hasattr(port, name)]


class Registers:
    """The engine's registers, by the offsets of ``docs/architecture.md``."""

    def __init__(self, control: AxiLiteMaster) -> None:
        self._control = control

    async def write(self, offset: int, value: int) -> None:
        await self._control.write_dword(offset, value)

    async def write_pair(self, offset: int, value: int) -> None:
        await self.write(offset, value & 0xFFFF_FFFF)
        await self.write(offset + 4, value >> 32)

    async def read(self, offset: int) -> int:
        return int(await self._control.read_dword(offset))

    async def read_pair(self, offset: int) -> int:
        return await self.read(offset) | await self.read(offset + 4) << 32


def connect(dut: Any, sizes: list[int]) -> tuple[AxiLiteMaster, list[AxiRam]]:
    """Start the clock; return a master at the registers, and a memory of each size at each port."""
    Clock(dut.aclk, PERIOD_NS, unit="ns").start()
    wires = (dut.aclk, dut.aresetn)
    control = AxiLiteMaster(
        AxiLiteBus.from_prefix(dut, "s_axi_ctrl"), *wires, reset_active_level=False
    )
    return control, [
        AxiRam(
            AxiBus.from_prefix(dut, f"m_axi_gmem{port}"),
            *wires,
            reset_active_level=False,
            size=size,
        )
        for port, size in enumerate(sizes)
    ]


async def reset(dut: Any) -> None:
    """Reset the engine."""
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 8)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 2)


@cocotb.test()
async def runs_a_program(dut: Any) -> None:
    """Run the task's program with its stalls; write the memory and the counters."""
    folder = Path(os.environ[TASK])
    with np.load(folder / "task.npz") as task:
        stripes = task["stripes"]
        base, size, program, chunks, seed, limit, count = (int(n) for n in task["numbers"])
        places = [int(place) for place in task["places"]]
        probability = float(task["stall"])
    room = 1 << int(stripes.shape[1] - 1).bit_length()
    control, rams = connect(dut, [room] * len(stripes))
    starts = [(place + base // len(stripes)) % room for place in places]
    for ram, start, stripe in zip(rams, starts, stripes, strict=True):
        ram.write(start, stripe.tobytes())
    await reset(dut)
    if probability:
        for channel, number in zip(channels(control, rams), itertools.count(), strict=False):
            channel.set_pause_generator(stalls(seed * 100 + number, probability))
    registers = Registers(control)
    await registers.write_pair(0x30, program)
    await registers.write(0x38, chunks)
    await registers.write_pair(0x40, base)
    await registers.write_pair(0x48, base + size)
    if len(stripes) > 1:
        for port, place in enumerate(places):
            await registers.write_pair(STRIPES_OFFSET + 8 * port, place)
    await registers.write(0x28, 1)
    await registers.write(0x20, _START)
    try:
        await with_timeout(RisingEdge(dut.interrupt), limit * PERIOD_NS, "ns")
    except SimTimeoutError:
        raise AssertionError(f"no interrupt within {limit} cycles") from None
    status = await registers.read(0x24)
    assert status == _DONE, f"status {status}, cause {await registers.read(0x2C)}"
    counters = [await registers.read_pair(COUNTERS_OFFSET + 8 * n) for n in range(count)]
    contents: list[Any] = [
        ram.read(start, stripes.shape[1]) for ram, start in zip(rams, starts, strict=True)
    ]
    after = np.stack([np.frombuffer(part, np.uint8) for part in contents])
    np.savez(folder / "result.npz", stripes=after, counters=np.array(counters, np.int64))

"""The board's whole system under cocotb: a host at the serial pins runs a program.

``test_board.py`` starts it, in a folder that holds ``task.npz``.
"""

import os
import sys
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, SimTimeoutError, Timer, with_timeout
from cocotb_tools.runner import get_runner

from celosia.fpga.serial_host import Host
from celosia.rtl.registers import MAGIC

CLOCK_NS = 40
SIZES = "numbers"


class SerialPins:
    """A port of the driver's kind at the pins of the design. Called from another thread."""

    def __init__(self, dut, divisor):
        self._dut = dut
        self._bit_ns = CLOCK_NS * divisor
        self._received = Queue()
        cocotb.start_soon(self._listen())

    async def _listen(self):
        while True:
            await FallingEdge(self._dut.uart_tx)
            await Timer(self._bit_ns * 3 // 2, "ns")
            byte = 0
            for bit in range(8):
                byte |= int(self._dut.uart_tx.value) << bit
                await Timer(self._bit_ns, "ns")
            assert int(self._dut.uart_tx.value) == 1, "no stop bit"
            self._received.put_nowait(byte)

    @resume
    async def write(self, data):
        for byte in data:
            for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                self._dut.uart_rx.value = bit
                await Timer(self._bit_ns, "ns")

    @resume
    async def read(self, size):
        received = bytearray()
        try:
            while len(received) < size:
                received.append(await with_timeout(self._received.get(), 10_000, "us"))
        except SimTimeoutError:
            pass
        return bytes(received)


@cocotb.test()
async def runs_a_program_over_the_wire(dut):
    with np.load("task.npz") as task:
        image = task["image"]
        divisor, program, chunks = (int(number) for number in task[SIZES])
    Clock(dut.clk_25mhz, CLOCK_NS, unit="ns").start(start_high=False)
    dut.uart_rx.value = 1
    dut.button.value = 1
    await Timer(20 * CLOCK_NS, "ns")
    dut.button.value = 0
    await Timer(20 * CLOCK_NS, "ns")
    host = Host(SerialPins(dut, divisor))

    def session():
        assert host.read_register(0) == MAGIC
        host.write_memory(0, image.tobytes())
        host.start(program=program, chunks=chunks, window=(0, image.size))
        host.wait(60)
        return host.cycles(), host.read_memory(0, image.size)

    cycles, after = await bridge(session)()
    assert int(dut.led.value) & 0b0110 == 0b0010, "done and no error"
    np.savez("result.npz", image=np.frombuffer(after, np.uint8), cycles=cycles)


def main(build, task):
    """Run the bench on the simulator in the folder ``build``."""
    get_runner("verilator").test(
        test_module="board_bench",
        hdl_toplevel="ecp5_top",
        hdl_toplevel_lang="verilog",
        build_dir=build,
        test_dir=task,
        results_xml=str(Path(task) / "results.xml"),
        extra_env={"PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), task))},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

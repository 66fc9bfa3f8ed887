"""A network on a board, or on the RTL of its whole system, compared with the golden model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from celosia.dataflow.accelerator import Accelerator as Description
from celosia.dataflow.compile import compile_network
from celosia.fpga.driver import Accelerator, Throughput, UartTransport, measure
from celosia.fpga.ecp5 import check_system
from celosia.fpga.ecp5_top import Ecp5Top
from celosia.fpga.serial_boards import MEMORY_BYTES, SerialBoard
from celosia.models.golden import evaluate
from celosia.models.network import Network
from celosia.rtl.verilog import write_verilog
from celosia.sim.serial.board import BoardModel, PtyBoard

SIMULATED: Final = "rtl"
"""In the place of a port's name: the board's system in RTL, behind a pseudo-terminal."""

DIVISOR: Final = 4
"""Cycles of a bit in simulation: the fastest, so that a sample takes seconds."""

_PATIENCE: Final = 60.0
"""Seconds that a simulated board may take to answer: the machine may be busy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoardRun:
    """What a board did.

    Attributes
    ----------
    outputs : dict of str to numpy.ndarray
        Codes of the network's outputs, (N, C, H, W).
    equal : int
        Samples of which every output is the golden model's, bit for bit.
    samples : int
        All of them.
    throughput : Throughput
        Of one run of all samples.
    """

    outputs: dict[str, np.ndarray]
    equal: int
    samples: int
    throughput: Throughput

    @property
    def holds(self) -> bool:
        """Whether every sample is right."""
        return self.equal == self.samples

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        measured = self.throughput
        return {
            "network": measured.network,
            "accelerator": measured.accelerator,
            "samples": self.samples,
            "equal_to_golden": self.equal,
            "cycles": measured.cycles_most,
            "seconds": round(measured.seconds, 3),
            "frames_per_second": measured.frames_per_second,
        }


@contextmanager
def connect(
    board: SerialBoard, accelerator: Description, port: str, memory_bytes: int
) -> Iterator[UartTransport]:
    """Yield the way to ``board`` at ``port``; of :data:`SIMULATED` to its RTL with this engine.

    Raises
    ------
    CelosiaError
        When the port cannot be opened, or the board cannot have this engine or this memory.
    """
    if port != SIMULATED:
        yield UartTransport(port)
        return
    check_system(accelerator, board.device, memory_bytes)
    model = simulate_board(board, accelerator, divisor=DIVISOR, memory_bytes=memory_bytes)
    with PtyBoard(model) as simulated:
        yield UartTransport(simulated.port, patience=_PATIENCE)


def simulate_board(
    board: SerialBoard, accelerator: Description, *, divisor: int, memory_bytes: int
) -> BoardModel:
    """Return the RTL of ``board``'s system, its clock divided and its pins inverted as there.

    ``divisor`` is of the system's clock. Raises as :class:`celosia.sim.serial.board.BoardModel`.
    """
    top = Ecp5Top.of(board, accelerator, memory_bytes=memory_bytes, divisor=divisor)
    return BoardModel(
        write_verilog(top),
        top.module_name,
        divisor << board.halvings,
        button_low=board.button_low,
        leds_low=board.leds_low,
    )


def run_on_board(
    network: Network,
    accelerator: Description,
    board: SerialBoard,
    port: str,
    inputs: Mapping[str, np.ndarray],
    *,
    memory_bytes: int = MEMORY_BYTES,
    seconds: float = 60.0,
) -> BoardRun:
    """Run ``network`` on ``board``, whose bitstream is of ``accelerator``.

    Parameters
    ----------
    network, accelerator
        What to run, and on what.
    board, port
        See :func:`connect`.
    inputs : mapping of str to numpy.ndarray
        Codes of each input, (N, C, H, W).
    memory_bytes : int
        Of a simulated board; others are asked.
    seconds : float
        Longest that one sample may take.

    Raises
    ------
    CelosiaError
        As :class:`celosia.fpga.driver.Accelerator` does.
    """
    golden = evaluate(network, dict(inputs))
    program = compile_network(network, accelerator, base_address=0)
    with (
        connect(board, accelerator, port, memory_bytes) as transport,
        Accelerator(transport, seconds=seconds) as engine,
    ):
        engine.load(program)
        outputs, throughput = measure(engine, inputs)
    same = [
        (outputs[name] == golden[name]).reshape(len(outputs[name]), -1).all(axis=1)
        for name in network.outputs
    ]
    right = np.logical_and.reduce(same)
    return BoardRun(
        outputs=outputs, equal=int(right.sum()), samples=len(right), throughput=throughput
    )

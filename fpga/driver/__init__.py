"""The driver of an engine: the same class on a board, over a cable, and in simulation.

Needs numpy alone, so that it imports fast on a board's own processor.

.. code-block:: python

    from celosia.fpga.driver import Accelerator, PynqTransport

    with Accelerator(PynqTransport("system.bit")) as engine:
        engine.load("digits.npz")  # of `celosia deploy`
        codes = engine.run({"x": images})["linear"]  # the network's names
        print(engine.counters()["cycles"])
"""

from celosia.fpga.driver.accelerator import Accelerator
from celosia.fpga.driver.deployment import Deployment
from celosia.fpga.driver.errors import (
    BusyError,
    EngineError,
    EngineTimeoutError,
    LinkError,
    RefusedError,
    ResetError,
    WrongAcceleratorError,
)
from celosia.fpga.driver.physical import PhysicalMemory
from celosia.fpga.driver.pynq import PynqTransport
from celosia.fpga.driver.throughput import Throughput, measure
from celosia.fpga.driver.transport import Transport
from celosia.fpga.driver.uart import UartTransport
from celosia.fpga.driver.uio import UioTransport

__all__ = [
    "Accelerator",
    "BusyError",
    "Deployment",
    "EngineError",
    "EngineTimeoutError",
    "LinkError",
    "PhysicalMemory",
    "PynqTransport",
    "RefusedError",
    "ResetError",
    "Throughput",
    "Transport",
    "UartTransport",
    "UioTransport",
    "WrongAcceleratorError",
    "measure",
]

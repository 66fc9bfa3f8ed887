"""Runs of sparse products on simulated engines.

.. code-block:: sh

    python -c "
    import scipy.sparse
    from celosia.dataflow.sparch.compile import compile_product
    from celosia.dataflow.sparch.presets import TINY
    from celosia.models.csr import from_scipy
    from celosia.sim.product import run_product
    from celosia.sim.run import Simulator
    matrix = from_scipy(scipy.sparse.eye(20, dtype=int, format='csr'))
    run = run_product(Simulator(TINY), compile_product(matrix, matrix, TINY))
    print(run.cycles, run.output.nonzeros)"
"""

from __future__ import annotations

import enum
import threading
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from celosia.dataflow.memory import DDR4, MemoryModel
from celosia.dataflow.sparch.interpret import read_output
from celosia.dataflow.sparch.program import SparchProgram
from celosia.dataflow.timing import layer_timings
from celosia.models.csr import Csr
from celosia.models.errors import CelosiaError
from celosia.rtl.image import program_image
from celosia.sim.run import Simulator, stamps

CYCLE_LIMIT: Final = 1 << 40
"""More than any product takes. The engine stops by itself when nothing moves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProductRun:
    """What a product's program did on an engine.

    Attributes
    ----------
    accelerator : str
        Its name.
    memory : MemoryModel
        With which memory.
    output : Csr
        The product as found in memory, in numbers.
    cycles : int
        From start to interrupt.
    round_cycles : tuple of int
        Of each round: differences of the stamps, the first from the start.
    counters : dict of IntEnum to int
        The hardware's counters.
    seconds : float
        Of wall clock, building excluded.
    """

    accelerator: str
    memory: MemoryModel
    output: Csr
    cycles: int
    round_cycles: tuple[int, ...]
    counters: dict[enum.IntEnum, int]
    seconds: float


def run_product(
    simulator: Simulator,
    program: SparchProgram,
    memory: MemoryModel = DDR4,
    *,
    image: np.ndarray | None = None,
    cycle_limit: int = CYCLE_LIMIT,
    stop: threading.Event | None = None,
) -> ProductRun:
    """Run ``program`` once.

    Parameters
    ----------
    simulator : Simulator
        Of the engine that the program is for.
    program : SparchProgram
        The product.
    memory : MemoryModel
        The memory that the engine sees.
    image : numpy.ndarray, optional
        Initial memory, uint8, instead of the program's own; the run writes into it.
    cycle_limit : int
        Cycles after which the run counts as hanging.
    stop : threading.Event, optional
        Ends the run early when set.

    Raises
    ------
    CelosiaError
        The program is for another accelerator, what the engine left is no matrix, or the engine
        stops with an error (:class:`celosia.sim.driver.EngineError`), hangs
        (:class:`celosia.sim.driver.HangError`) or breaks a rule of its bus
        (:class:`celosia.sim.library.ProtocolError`).
    """
    if program.accelerator != simulator.accelerator:
        raise CelosiaError(
            f"the program of {program.network!r} is for accelerator "
            f"{program.accelerator.name!r}, the simulator is of {simulator.accelerator.name!r}: "
            "compile it again"
        )
    begin = time.perf_counter()
    image = program_image(program) if image is None else image
    driver = simulator.driver()
    with driver.model:
        driver.model.attach(image, program.base_address)
        driver.configure(program)
        driver.model.start_memory(memory)
        driver.start()
        driver.wait(cycle_limit, stop)
        counters = driver.counters()
    names = tuple(layer.name for layer in program.layers)
    return ProductRun(
        accelerator=program.accelerator.name,
        memory=memory,
        output=_output(program, image),
        cycles=next(iter(counters.values())),  # the first counter
        round_cycles=tuple(layer.cycles for layer in layer_timings(names, stamps(program, image))),
        counters=counters,
        seconds=time.perf_counter() - begin,
    )


def _output(program: SparchProgram, image: np.ndarray) -> Csr:
    """Return the product in memory ``image``; :class:`CelosiaError` if it is no matrix."""
    try:
        return read_output(program.accelerator, program.output, image)
    except ValueError as error:
        raise CelosiaError(f"what the engine left in memory is no matrix: {error}") from error

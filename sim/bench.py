"""How fast a simulator is: a program that keeps the array busy, timed.

.. code-block:: sh

    python -c "
    from celosia.dataflow.presets import preset
    from celosia.sim.bench import bench_sim
    print(bench_sim(preset('small')))"
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import IDEAL, MemoryModel
from celosia.models.formats import Fixed, Format
from celosia.models.network import Conv, Network, Requant, Tensor, Window
from celosia.rtl.image import program_image
from celosia.sim.driver import Driver
from celosia.sim.run import Simulator
from celosia.sim.verilate import Progress

_SEED: Final = 2026
_LAYERS: Final = 2
_ROWS: Final = 16
_WIDTH: Final = 24
_KERNEL: Final = 3
_LIMIT: Final = 10_000_000
_LEAST_SECONDS: Final = 2.0
_LEAST_RUNS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SimBench:
    """What was measured, in seconds of one core's time: what else runs takes none of it.

    Attributes
    ----------
    accelerator : str
        Its name.
    cycles_per_s : float
        Simulated cycles a second, with the memory model and the protocol checks.
    products_per_s : float
        Useful products a second: those of the network, not those of idle lanes.
    eval_ratio : float
        Speed relative to a bare loop that only evaluates the same model with the same inputs,
        recorded before: 1 means that memory, checks and driver cost nothing.
    build_seconds : float or None
        What the simulator took to build, when it was built; None where that is not known any more.
    build_cached : bool
        Whether that was at an earlier time.
    cycles : int
        Cycles of the program that was timed.
    utilisation : float
        Useful products a cycle over the array's products a cycle.
    """

    accelerator: str
    cycles_per_s: float
    products_per_s: float
    eval_ratio: float
    build_seconds: float | None
    build_cached: bool
    cycles: int
    utilisation: float


def bench_network(accelerator: Accelerator) -> Network:
    """Return a network of 3x3 convolutions that fills the array of ``accelerator``.

    As many channels as columns, in the columns' formats, and some rows for each pixel lane.
    """
    array = accelerator.array
    rng = np.random.default_rng(_SEED)
    channels, height = array.column_count, _ROWS * array.pixels
    activation = Fixed(bits=array.activation_bits, signed=False)
    tensors = tuple(
        Tensor(name=f"t{i}", shape=(channels, height, _WIDTH), format=activation, scale=1.0)
        for i in range(_LAYERS + 1)
    )
    shift = max(1, (channels * _KERNEL**2).bit_length() // 2 + 6)
    ones = np.ones(channels, np.int64)
    requant = Requant(
        bias=0 * ones,
        positive=ones,
        negative=0 * ones,
        residual=0 * ones,
        shift=shift * ones,
        low=0,
        high=activation.high,
    )
    ops = tuple(
        Conv(
            name=f"conv{i}",
            input=f"t{i}",
            output=f"t{i + 1}",
            window=Window(kernel=(_KERNEL, _KERNEL), padding=(1, 1, 1, 1)),
            groups=1,
            weights=_weights(rng, array.column_formats, channels),
            formats=array.column_formats,
            requant=requant,
        )
        for i in range(_LAYERS)
    )
    return Network(
        name="bench",
        tensors=tensors,
        inputs=("t0",),
        outputs=(f"t{_LAYERS}",),
        ops=ops,
        trained=False,
    )


def _weights(rng: np.random.Generator, formats: tuple[Format, ...], channels: int) -> np.ndarray:
    shape = (channels, _KERNEL, _KERNEL)
    return np.stack([rng.choice(fmt.values, shape) for fmt in formats]).astype(np.int64)


def bench_sim(
    accelerator: Accelerator,
    *,
    memory: MemoryModel = IDEAL,
    progress: Progress | None = None,
) -> SimBench:
    """Measure the simulator of ``accelerator``, building it where it is not cached.

    By default the memory answers at once, so that the array is as busy as the engine can keep it:
    a cycle takes the simulator as long whether lanes have work or not.

    Raises :class:`~celosia.models.errors.CelosiaError` as
    :class:`~celosia.sim.run.Simulator` does.
    """
    simulator = Simulator(accelerator, progress=progress)
    program = compile_network(bench_network(accelerator), accelerator)
    driver = simulator.driver()
    with driver.model as model:
        image = program_image(program)
        placement = program.placement("t0")
        codes = np.random.default_rng(_SEED).integers(
            placement.format.low, placement.format.high + 1, placement.shape
        )
        placement.write(image, codes)
        model.attach(image, program.base_address)
        driver.configure(program)
        _run(driver, memory)  # once untimed: caches and the processor's clock warm up
        cycles, seconds, ratio = _measure(driver, memory)
    return SimBench(
        accelerator=accelerator.name,
        cycles_per_s=cycles / seconds,
        products_per_s=program.products / seconds,
        eval_ratio=ratio,
        build_seconds=simulator.build.seconds,
        build_cached=simulator.build.cached,
        cycles=cycles,
        utilisation=program.products / (cycles * accelerator.array.products),
    )


def _measure(driver: Driver, memory: MemoryModel) -> tuple[int, float, float]:
    """Return cycles and seconds of the fastest of some runs, and the ratio to a bare loop.

    Runs and bare loops alternate, and the fastest of each count: other work on the machine
    only ever makes them slower.
    """
    model = driver.model
    model.record(True)
    _run(driver, memory)
    model.record(False)
    model.replay()
    runs: list[tuple[float, int]] = []
    loops: list[float] = []
    begin = time.perf_counter()
    while len(runs) < _LEAST_RUNS or time.perf_counter() - begin < _LEAST_SECONDS:
        runs.append(_run(driver, memory))
        start = time.thread_time()
        cycles = model.replay()
        loops.append((time.thread_time() - start) / cycles)
    seconds, cycles = min(runs)
    return cycles, seconds, min(loops) * cycles / seconds


def _run(driver: Driver, memory: MemoryModel) -> tuple[float, int]:
    """Run the program; return seconds of processor time, and cycles."""
    driver.model.start_memory(memory)
    begin, first = time.thread_time(), driver.model.cycle
    driver.start()
    driver.wait(_LIMIT)
    return time.thread_time() - begin, driver.model.cycle - first

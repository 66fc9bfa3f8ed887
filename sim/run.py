"""Runs of programs on simulated engines.

.. code-block:: sh

    python -c "
    from celosia.dataflow.presets import preset
    from celosia.sim.run import Simulator
    simulator = Simulator(preset('tiny'))
    print(simulator.build.library, simulator.build.seconds)"
"""

from __future__ import annotations

import enum
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.engines import Description, kind_of, network_kind
from celosia.dataflow.inputs import check_inputs
from celosia.dataflow.memory import DDR4, MemoryModel
from celosia.dataflow.program import BaseProgram
from celosia.dataflow.timing import LayerTiming, Timing, layer_timings
from celosia.models.errors import CelosiaError
from celosia.rtl.core import core_name, core_verilog
from celosia.rtl.image import program_image
from celosia.sim.driver import Driver
from celosia.sim.library import Model
from celosia.sim.seen import NEVER, VISIBLE, Sights, Taps, Watch
from celosia.sim.verilate import Build, Progress, verilate

SampleProgress = Callable[[int, int], None]
"""Called as a run proceeds: samples done, samples in all. From several threads."""

_STAMP_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What a program did on an engine, for N samples in R starts.

    Attributes
    ----------
    network, accelerator : str
        Names of what ran, and on what.
    memory : MemoryModel
        With which memory.
    tensors : dict of str to numpy.ndarray
        Codes of every tensor, inputs included: int32 (N, C, H, W), as found in memory, or of those
        that never leave the chip as the post unit made them, and then
        :data:`celosia.sim.seen.NEVER` for a code that it did not make or put elsewhere.
    unmade : dict of str to numpy.ndarray
        Of tensors that maxima are taken of as they are made: the elements that no maximum is taken
        of, so that nobody makes them, bool (N, C, H, W). Only where there are such.
    others : dict of str to (numpy.ndarray, numpy.ndarray)
        Of tensors whose codes were made several times and not alike each time: indices into the
        flattened tensor, and what else these codes were.
    unseen : tuple of str
        Tensors that never leave the chip and could not be seen there: they are not in ``tensors``.
    cycles : numpy.ndarray
        From start to interrupt, int64 (R,).
    layer_names : tuple of str
        The L layers in execution order.
    layer_cycles : numpy.ndarray
        Cycles of each layer, int64 (R, L): differences of the stamps, the first from the start.
    counters : dict of IntEnum to numpy.ndarray
        The hardware's counters, int64 (R,).
    seconds : float
        Of wall clock, building excluded.
    """

    network: str
    accelerator: str
    memory: MemoryModel
    tensors: dict[str, np.ndarray]
    cycles: np.ndarray
    layer_names: tuple[str, ...]
    layer_cycles: np.ndarray
    counters: dict[enum.IntEnum, np.ndarray]
    seconds: float
    unmade: dict[str, np.ndarray] = field(default_factory=dict)
    others: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """``N``."""
        return len(next(iter(self.tensors.values())))

    def wrong(self, name: str, expected: np.ndarray) -> np.ndarray:
        """Return which codes of tensor ``name`` are not ``expected``: bool (N, C, H, W).

        What nobody makes is not compared; what was made several times must be right each time.
        """
        wrong = np.asarray(self.tensors[name] != expected)
        if name in self.unmade:
            wrong &= ~self.unmade[name]
        if name in self.others:
            index, codes = self.others[name]
            wrong.ravel()[index[codes != expected.ravel()[index]]] = True
        return wrong

    def got(self, name: str, index: tuple[int, ...], expected: int) -> int | None:
        """Return what the code at ``index`` of a tensor was in the place of ``expected``.

        None where it was never made.
        """
        code = int(self.tensors[name][index])
        if code == expected and name in self.others:
            flat = np.ravel_multi_index(index, self.tensors[name].shape)
            elements, codes = self.others[name]
            code = int(codes[(elements == flat) & (codes != expected)][0])
        return None if code == NEVER else code

    def timing(self, start: int) -> Timing:
        """Return what was measured in one start, in the form of a prediction."""
        cycles = zip(self.layer_names, self.layer_cycles[start], strict=True)
        return Timing(
            cycles=int(self.cycles[start]),
            layers=tuple(LayerTiming(name=name, cycles=int(n)) for name, n in cycles),
            counters={counter: int(values[start]) for counter, values in self.counters.items()},
        )


class Simulator:
    """A simulator of one accelerator: built, or found in the cache, by the constructor.

    Parameters
    ----------
    accelerator : Description
        What to simulate.
    traced : bool
        Whether signals can be traced: slower to build and to run.
    verilog : str, optional
        Other Verilog with the same ports and registers, to be simulated in the place of its own:
        a changed one.
    progress : Callable, optional
        Shown the steps of a build, see :data:`celosia.sim.verilate.Progress`.

    Raises
    ------
    CelosiaError
        As :func:`celosia.sim.verilate.verilate`.
    """

    def __init__(
        self,
        accelerator: Description,
        *,
        traced: bool = False,
        verilog: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._accelerator = accelerator
        self._verilog = verilog
        self._build = verilate(
            self.verilog,
            core_name(accelerator),
            traced=traced,
            progress=progress,
            visible=VISIBLE if isinstance(accelerator, Accelerator) else (),
        )

    @property
    def accelerator(self) -> Description:
        """What is simulated."""
        return self._accelerator

    @property
    def verilog(self) -> str:
        """Its Verilog."""
        return core_verilog(self._accelerator) if self._verilog is None else self._verilog

    @property
    def build(self) -> Build:
        """The build."""
        return self._build

    def with_traces(self, progress: Progress | None = None) -> Simulator:
        """Return a simulator of the same hardware whose signals can be traced, building it."""
        if self._build.traced:
            return self
        return Simulator(self._accelerator, traced=True, verilog=self._verilog, progress=progress)

    def driver(self) -> Driver:
        """Return a new instance of the engine."""
        model = Model(self._build.library)
        model.limit_bursts(self._accelerator.bus.burst_beats)
        return Driver(model, self._accelerator)

    def run(
        self,
        program: BaseProgram,
        inputs: Mapping[str, np.ndarray],
        memory: MemoryModel = DDR4,
        *,
        workers: int | None = None,
        cycle_limit: int | None = None,
        progress: SampleProgress | None = None,
    ) -> Run:
        """Run ``program`` on every sample, each start from a fresh memory image.

        Parameters
        ----------
        program : BaseProgram
            Compiled for this accelerator.
        inputs : mapping of str to numpy.ndarray
            Codes of each input of the network, integers of shape (N, C, H, W), N a multiple of
            the program's samples.
        memory : MemoryModel
            The memory that the engine sees.
        workers : int, optional
            Starts simulated at once, each in a thread; one for each core by default.
        cycle_limit : int, optional
            Cycles after which a start counts as hanging; by default a bound that no program
            reaches.
        progress : Callable, optional
            See :data:`SampleProgress`.

        Returns
        -------
        Run

        Raises
        ------
        CelosiaError
            When the program is for another accelerator, an input is missing or wrong, or the
            engine stops with an error (:class:`celosia.sim.driver.EngineError`), hangs
            (:class:`celosia.sim.driver.HangError`) or breaks a rule of its bus
            (:class:`celosia.sim.library.ProtocolError`).
        """
        if program.accelerator != self._accelerator:
            raise CelosiaError(
                f"the program of network {program.network!r} is for accelerator "
                f"{program.accelerator.name!r}, the simulator is of {self._accelerator.name!r}: "
                "compile it again"
            )
        samples = check_inputs(program, inputs)
        begin = time.perf_counter()
        work = _Work(
            simulator=self,
            program=program,
            inputs=inputs,
            memory=memory,
            image=program_image(program),
            limit=cycle_limit or network_kind(program.accelerator).bound(program, memory),
            progress=progress or _silent,
            samples=samples,
        )
        work.run(min(workers or os.cpu_count() or 1, samples // program.samples))
        return work.result(time.perf_counter() - begin)


def run(
    accelerator: Description,
    program: BaseProgram,
    inputs: Mapping[str, np.ndarray],
    memory: MemoryModel = DDR4,
) -> Run:
    """Build a simulator of ``accelerator`` and run ``program``: see :meth:`Simulator.run`."""
    return Simulator(accelerator).run(program, inputs, memory)


def _silent(_done: int, _samples: int) -> None:
    """Show nothing."""


class _Work:
    """One run: its starts, and the threads that take them in order."""

    def __init__(
        self,
        *,
        simulator: Simulator,
        program: BaseProgram,
        inputs: Mapping[str, np.ndarray],
        memory: MemoryModel,
        image: np.ndarray,
        limit: int,
        progress: SampleProgress,
        samples: int,
    ) -> None:
        self._simulator = simulator
        self._program = program
        self._inputs = inputs
        self._memory = memory
        self._image = image
        self._limit = limit
        self._progress = progress
        self._samples = samples
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self._done = 0
        self._watch = Watch(program)
        self._sights = Sights(self._watch, samples // program.samples)
        kept = {codes.tensor for codes in self._watch.made}
        self._stored = [p for p in program.placements if p.name not in kept]
        self._tensors = {p.name: np.zeros((samples, *p.shape), np.int32) for p in self._stored}
        starts = samples // program.samples
        counters = kind_of(program.accelerator).counters
        self._layer_cycles = np.zeros((starts, len(program.layers)), np.int64)
        self._counters = {counter: np.zeros(starts, np.int64) for counter in counters}

    def run(self, workers: int) -> None:
        with ThreadPoolExecutor(max_workers=workers) as pool:
            try:
                for future in as_completed([pool.submit(self._worker) for _ in range(workers)]):
                    future.result()
            except BaseException:
                # Ctrl-C, or the first error: the other threads end at their next look.
                self._stop.set()
                raise

    def result(self, seconds: float) -> Run:
        return Run(
            network=self._program.network,
            accelerator=self._program.accelerator.name,
            memory=self._memory,
            tensors=self._tensors | self._sights.tensors,
            unmade=self._sights.unmade,
            others=self._sights.others,
            unseen=self._sights.unseen,
            cycles=next(iter(self._counters.values())),  # the first counter
            layer_names=tuple(layer.name for layer in self._program.layers),
            layer_cycles=self._layer_cycles,
            counters=self._counters,
            seconds=seconds,
        )

    def _worker(self) -> None:
        driver = self._simulator.driver()
        with driver.model:
            taps = self._watch.on(driver.model)
            image = self._image.copy()
            driver.model.attach(image, self._program.base_address)
            driver.configure(self._program)
            while (start := self._take()) is not None:
                image[:] = self._image
                self._start(driver, image, start, taps)

    def _take(self) -> int | None:
        with self._lock:
            if self._next * self._program.samples == self._samples or self._stop.is_set():
                return None
            self._next += 1
            return self._next - 1

    def _start(self, driver: Driver, image: np.ndarray, start: int, taps: Taps | None) -> None:
        program = self._program
        samples = range(start * program.samples, (start + 1) * program.samples)
        write_inputs(program, image, self._inputs, samples.start)
        driver.model.start_memory(self._memory)
        if taps is not None:
            taps.clear()
        driver.start()
        driver.wait(self._limit, self._stop)
        for placement in self._stored:
            for index, sample in enumerate(samples):
                self._tensors[placement.name][sample] = placement.of(index).read(image)
        if taps is not None:
            self._sights.take(taps, start)
        for counter, value in driver.counters().items():
            self._counters[counter][start] = value
        names = tuple(layer.name for layer in program.layers)
        layers = layer_timings(names, stamps(program, image))
        self._layer_cycles[start] = [layer.cycles for layer in layers]
        with self._lock:
            self._done += len(samples)
            self._progress(self._done, self._samples)


def write_inputs(
    program: BaseProgram, image: np.ndarray, inputs: Mapping[str, np.ndarray], first: int
) -> None:
    """Write the samples of one start, from number ``first`` on, into the memory ``image``."""
    for name in program.inputs:
        for index in range(program.samples):
            codes = np.asarray(inputs[name])[first + index]
            program.placement(name).of(index).write(image, codes)


def stamps(program: BaseProgram, image: np.ndarray) -> tuple[int, ...]:
    """Return the cycle counter's value at each layer's stamp, as found in ``image``."""
    starts = [layer.stamp - program.base_address for layer in program.layers]
    return tuple(
        int.from_bytes(image[start : start + _STAMP_BYTES].tobytes(), "little") for start in starts
    )

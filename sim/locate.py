"""When a divergence happened: the sample is run again, watched, and traced round that cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import BaseProgram
from celosia.dataflow.provenance import Place
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file
from celosia.rtl.image import program_image
from celosia.sim.check import CounterDivergence, Divergence, ValueDivergence
from celosia.sim.driver import Driver
from celosia.sim.inside import Inside
from celosia.sim.library import Outcome
from celosia.sim.run import Run, Simulator, write_inputs
from celosia.sim.seen import Watch
from celosia.sim.verilate import Progress

TRACE_CYCLES: Final = 512
"""Cycles that a trace shows before and after the one that is looked at."""

MOST_CYCLES: Final = 4 * TRACE_CYCLES
"""Most cycles of a trace that nobody chose: signals of an engine take some kilobytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where to look.

    Attributes
    ----------
    cycle : int or None
        Of the engine's cycle counter. For a value: when it was last written, or on chip when post
        made it, None if never.
        For cycles: where measurement and prediction part, the earlier of the two ends of the
        layer. For a counter: the end.
    trace : Path or None
        The FST that was written; ``first`` is the cycle of the counter at its time
        ``first_time``, and a cycle is 10 time units.
    first, first_time : int
        See ``trace``; 0 without one.
    """

    cycle: int | None
    trace: Path | None
    first: int = 0
    first_time: int = 0

    def __str__(self) -> str:
        when = "never written" if self.cycle is None else f"cycle {self.cycle}"
        if self.trace is None:
            return when
        return f"{when}; signals from cycle {self.first} on in {self.trace}"


def locate(
    simulator: Simulator,
    program: BaseProgram,
    inputs: Mapping[str, np.ndarray],
    run: Run,
    divergence: Divergence,
    *,
    trace: Path | None = None,
    progress: Progress | None = None,
) -> Location:
    """Return when ``divergence`` happened, and write the signals round it.

    Parameters
    ----------
    simulator : Simulator
        What ``run`` was made with.
    program, inputs
        What was run.
    run : Run
        In which the divergence was found.
    divergence : Divergence
        From :func:`celosia.sim.check.check`.
    trace : Path, optional
        Where to write an FST; None: no trace. Needs a second, traced build of the simulator.
    progress : Callable, optional
        Shown the steps of that build.

    Raises
    ------
    CelosiaError
        When a tool that tracing needs is missing, or the file cannot be written: then no file
        is left.
    """
    replay = Replay(program, inputs, run.memory, divergence.sample, int(run.cycles.max()))
    watch = Watch(program)
    if not isinstance(divergence, ValueDivergence):
        written, end = replay.whole(simulator, None)
    elif watch.codes(divergence.tensor) is not None:
        written, end = replay.made(simulator, watch, divergence)
    else:
        written, end = replay.whole(simulator, code_address(program, divergence))
    # The harness counts from the model's making, the engine from the start.
    start = divergence.sample // program.samples
    offset = end - int(run.cycles[start])
    if isinstance(divergence, ValueDivergence):
        cycle = None if written is None else written - offset
    else:
        cycle = _expected_end(run, start, divergence)
    if trace is None:
        return Location(cycle=cycle, trace=None)
    centre = _layer_end(run, start, divergence) if cycle is None else cycle
    window = max(0, centre - TRACE_CYCLES), centre + TRACE_CYCLES
    traced = simulator.with_traces(progress)
    return replace(replay.trace(traced, window, trace, offset), cycle=cycle)


def bounded(first: int, last: int) -> tuple[int, int]:
    """Return a window round cycles ``first`` to ``last``; of a long time its end."""
    stop = last + TRACE_CYCLES // 4
    return max(0, first - TRACE_CYCLES // 4, stop - MOST_CYCLES), stop


def trace_window(
    simulator: Simulator,
    program: BaseProgram,
    inputs: Mapping[str, np.ndarray],
    run: Run,
    sample: int,
    window: tuple[int, int],
    path: Path,
    progress: Progress | None = None,
) -> Location:
    """Write the signals in the cycles ``window`` of the start that runs ``sample``.

    Parameters
    ----------
    simulator : Simulator
        What ``run`` was made with.
    program, inputs, run
        What was run, and what came of it.
    sample : int
        One of the start's.
    window : (int, int)
        First and last cycle by the engine's counter.
    path : Path
        Receives the FST.
    progress : Callable, optional
        Shown the steps of the traced build that this takes.

    Raises
    ------
    CelosiaError
        When no cycle of the window is of this start, or the file cannot be written.
    """
    cycles = int(run.cycles[sample // program.samples])
    if not 0 <= window[0] <= min(window[1], cycles):
        raise CelosiaError(
            f"cycles {window[0]} to {window[1]} are not in the start of sample {sample}, which "
            f"takes {cycles}"
        )
    replay = Replay(program, inputs, run.memory, sample, int(run.cycles.max()))
    offset = replay.offset(simulator, cycles)
    return replay.trace(simulator.with_traces(progress), window, path, offset)


def code_address(program: BaseProgram, divergence: ValueDivergence) -> int:
    """Return the address of the byte that holds the lowest bit of the code."""
    placement = program.placement(divergence.tensor)
    c, y, x = divergence.index
    start = placement.at(divergence.sample % program.samples)
    word = int(placement.words[c]) * placement.plane + y * placement.pitch
    lane = int(placement.lanes[c]) * placement.lane_bits // 8
    return start + word + x * placement.word_bytes + lane


def _expected_end(run: Run, start: int, divergence: Divergence) -> int:
    end = _layer_end(run, start, divergence)
    if isinstance(divergence, ValueDivergence | CounterDivergence):
        return end
    return min(end, end - divergence.measured + divergence.predicted)


def _layer_end(run: Run, start: int, divergence: Divergence) -> int:
    """Return the measured end of the divergence's layer, by the engine's counter."""
    if isinstance(divergence, CounterDivergence) or divergence.layer is None:
        return int(run.cycles[start])
    index = run.layer_names.index(divergence.layer)
    return int(run.layer_cycles[start, : index + 1].sum())


class Replay:
    """One start, of the samples beside ``sample``, from reset, the same each time."""

    def __init__(
        self,
        program: BaseProgram,
        inputs: Mapping[str, np.ndarray],
        memory: MemoryModel,
        sample: int,
        cycles: int,
    ) -> None:
        self._program = program
        self._memory = memory
        self._limit = 2 * cycles + 100_000
        self._image = program_image(program)
        write_inputs(program, self._image, inputs, sample - sample % program.samples)

    @property
    def image(self) -> np.ndarray:
        """The memory before the start."""
        return self._image

    def _start(self, simulator: Simulator, image: np.ndarray) -> Driver:
        driver = simulator.driver()
        driver.model.attach(image, self._program.base_address)
        driver.configure(self._program)
        driver.model.start_memory(self._memory)
        return driver

    def whole(self, simulator: Simulator, address: int | None) -> tuple[int | None, int]:
        """Return the cycles of the last write to ``address`` and of the end."""
        driver = self._start(simulator, self._image.copy())
        with driver.model as model:
            if address is not None:
                model.watch(address)
            driver.start()
            model.run(self._limit)
            end = model.cycle - 1  # in this cycle the interrupt was seen
            return (None if address is None else model.watched(address)), end

    def made(
        self, simulator: Simulator, watch: Watch, divergence: ValueDivergence
    ) -> tuple[int | None, int]:
        """Return the cycles in which a code that never leaves the chip was made, and of the end."""
        driver = self._start(simulator, self._image.copy())
        with driver.model as model:
            taps = watch.on(model)
            driver.start()
            model.run(self._limit)
            end, cycle = model.cycle - 1, None
            for seen in () if taps is None else taps.seen():
                if seen.codes.tensor == divergence.tensor:
                    where = divergence.sample % self._program.samples, *divergence.index
                    element = int(np.ravel_multi_index(where, seen.codes.shape))
                    cycle = seen.cycle(element, divergence.expected)
            return cycle, end

    def offset(self, simulator: Simulator, cycles: int) -> int:
        """Return the harness's cycle in which the counter of a run of ``cycles`` is 0."""
        _, end = self.whole(simulator, None)
        return end - cycles

    def trace(
        self, simulator: Simulator, window: tuple[int, int], path: Path, offset: int
    ) -> Location:
        """Write the signals in cycles ``window`` by the engine's counter, 0 at ``offset``.

        The location's ``cycle`` is the first one traced.
        """
        driver = self._start(simulator, self._image.copy())
        with driver.model as model:
            driver.start()
            first, last = max(model.cycle, offset + window[0]), offset + window[1]
            if first > model.cycle:
                model.run(first - model.cycle)
            with atomic_file(path) as draft:
                model.trace(draft)
                while model.cycle < last:
                    if model.run(last - model.cycle) is Outcome.INTERRUPT:
                        break
                model.end_trace()
            return Location(
                cycle=first - offset, trace=path, first=first - offset, first_time=10 * first
            )

    def probe(
        self, simulator: Simulator, offset: int, cycles: Sequence[int], places: Sequence[Place]
    ) -> list[int | None]:
        """Return what is in the engine at each of ``places`` in the cycle beside it.

        ``simulator`` must be traced; cycles are those of the engine's counter, which began at
        ``offset``. None where the run was over before, or there is no such memory.
        """
        accelerator = self._program.accelerator
        assert isinstance(accelerator, Accelerator)
        found: list[int | None] = [None] * len(places)
        driver = self._start(simulator, self._image.copy())
        with driver.model as model:
            inside = Inside(accelerator, model)
            driver.start()
            for index in sorted(range(len(places)), key=lambda index: cycles[index]):
                ahead = offset + cycles[index] - model.cycle
                if ahead > 0 and model.run(ahead) is Outcome.INTERRUPT:
                    break
                found[index] = inside.read(places[index])
        return found

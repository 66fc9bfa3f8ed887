"""An engine that runs networks, whatever the way to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from celosia.dataflow.inputs import check_inputs
from celosia.dataflow.layout import Placement
from celosia.dataflow.program import BaseProgram
from celosia.fpga.driver.deployment import Deployment
from celosia.fpga.driver.errors import BusyError
from celosia.fpga.driver.registers import Registers, Status
from celosia.fpga.driver.transport import Transport
from celosia.fpga.driver.waiting import check_fits, explain_silence, settle, wait_for_end
from celosia.models.errors import CelosiaError

START: Final = 1
_STAMP_BYTES: Final = 8


@dataclass(slots=True, kw_only=True, eq=False)
class _Slot:
    """One copy of the program in the engine's memory, and of that memory's first contents."""

    deployment: Deployment
    image: np.ndarray


class Accelerator:
    """An engine, to be loaded with a program and run.

    A context manager: leaving it closes the transport. Every method that talks to the engine
    raises :class:`~celosia.models.errors.CelosiaError` in words when that fails (the kinds are in
    :mod:`celosia.fpga.driver.errors`), and the next run is right without loading anything again:
    after whatever went wrong, a reset or a loss of power included, it checks the engine and writes
    the program into its memory anew.

    Parameters
    ----------
    transport : Transport
        The way to the engine.
    seconds : float
        Longest that one start may take, and that the engine may take to stop.

    Raises
    ------
    ValueError
        ``seconds`` is not positive.
    """

    def __init__(self, transport: Transport, *, seconds: float = 10.0) -> None:
        if not seconds > 0:
            raise ValueError(f"seconds must be positive, not {seconds!r}")
        self._transport = transport
        self._seconds = seconds
        self._slots: tuple[_Slot, ...] = ()
        self._registers: Registers | None = None
        self._stripes: tuple[int, ...] = ()
        self._last: _Slot | None = None
        self._left: Status | None = None  # what the engine was last seen at; None: a run failed
        self._cycles = np.zeros(0, np.int64)
        self._closed = False
        self._in_use = threading.Lock()

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the transport; an engine that still runs goes on, and the next load stops it.

        Whatever would talk to the engine afterwards raises :class:`CelosiaError`.
        """
        self._closed = True
        self._transport.close()

    @property
    def deployment(self) -> Deployment:
        """What was loaded, where it lies."""
        return self._slot(0).deployment

    @property
    def cycles(self) -> np.ndarray:
        """Cycles of each start of the last run, int64."""
        return self._cycles

    def load(self, program: BaseProgram | Deployment | str | Path, *, buffers: int = 1) -> None:
        """Write a program into the engine's memory.

        Parameters
        ----------
        program : BaseProgram, Deployment, str or Path
            A program, which needs the generator to be installed; what was deployed of one, or the
            file that it was saved to.
        buffers : int
            Copies in memory: with 2, inputs of the next start are written and outputs of the last
            read while the engine runs.

        Raises
        ------
        WrongAcceleratorError
            The program is for another accelerator, or no engine answers.
        EngineTimeoutError
            The engine runs another program and does not stop.
        CelosiaError
            The file is damaged, the memory too small, or ``program`` is something else.
        ValueError
            ``buffers`` is not 1 or 2.
        """
        if buffers not in (1, 2):
            raise ValueError(f"buffers must be 1 or 2, not {buffers!r}")
        if isinstance(program, str | Path):
            program = Deployment.load(program)
        elif isinstance(program, BaseProgram):
            from celosia.fpga.deploy import deploy  # with the generator: not on a board

            program = deploy(program)
        elif not isinstance(program, Deployment):
            raise CelosiaError(
                "load() takes a program, what was deployed of one, or the name of that file, not "
                f"{type(program).__name__}"
            )
        with self._exclusive():
            self._slots, self._last, self._left = (), None, None
            self._registers = Registers(self._transport, program.registers)
            self._take_over(program)
            self._slots, self._stripes = self._place(program, buffers)
            self._fill()

    def _take_over(self, program: Deployment) -> None:
        """Check that the engine is the program's, and bring it to rest."""
        check_fits(self._known, program)
        settle(self._known, self._transport, self._seconds)

    def _place(
        self, program: Deployment, buffers: int
    ) -> tuple[tuple[_Slot, ...], tuple[int, ...]]:
        """Return the program at as many places in memory, and where the ports' stripes lie."""
        base, stripes = self._transport.place(
            buffers * program.room, ports=program.ports, beat_bytes=program.beat_bytes
        )
        moved = [program.at(base + index * program.room) for index in range(buffers)]
        return tuple(_Slot(deployment=each, image=each.image) for each in moved), stripes

    def _fill(self) -> None:
        """Write what was placed into memory."""
        for slot in self._slots:
            self._transport.write_memory(slot.deployment.base, slot.image)
        self._left = self._known.read_status()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network on every sample.

        Parameters
        ----------
        inputs : mapping of str to numpy.ndarray
            Codes of each input, integers (N, C, H, W), N a multiple of the program's samples.

        Returns
        -------
        dict of str to numpy.ndarray
            Codes of each output, int64 (N, C, H, W).

        Raises
        ------
        EngineError
            The engine stopped the program: with the cause in words.
        EngineTimeoutError
            A start took longer than ``seconds``: with what the engine was seen to do meanwhile.
        ResetError
            The engine was reset in the middle of it.
        BusyError
            A program runs already, of this driver or of another.
        LinkError
            The transport failed.
        CelosiaError
            Nothing is loaded, or the inputs are not the network's.
        """
        with self._exclusive():
            first = self._slot(0).deployment
            samples = check_inputs(first, inputs)
            starts = samples // first.samples
            codes = {name: np.asarray(inputs[name]) for name in first.inputs}
            outputs = {
                name: np.zeros((samples, *first.placement(name).shape), np.int64)
                for name in first.outputs
            }
            self._make_ready()
            self._cycles, self._last, self._left = np.zeros(starts, np.int64), None, None
            try:
                self._run(starts, codes, outputs)
            except BaseException:
                # Ctrl-C too: what runs is stopped, so that the next run finds an engine at rest.
                self._stop()
                raise
            self._left = Status.DONE
        return outputs

    def _run(
        self, starts: int, codes: Mapping[str, np.ndarray], outputs: dict[str, np.ndarray]
    ) -> None:
        """Run all starts; with two slots, memory is written and read while the engine runs."""
        running: int | None = None
        for start in range(starts):
            if running is not None and len(self._slots) == 1:
                self._finish(running)
                self._take(running, outputs)
                running = None
            self._give(start, codes)
            if running is not None:
                self._finish(running)
            self._start(self._slot(start))
            if running is not None:
                self._take(running, outputs)
            running = start
        if running is not None:
            self._finish(running)
            self._take(running, outputs)

    def counters(self) -> dict[str, int]:
        """Return the engine's counters of the last start, by name; the cycles are the first."""
        with self._exclusive():
            names = self._slot(0).deployment.counters
            return {name: self._known.read_pair(name) for name in names}

    def layer_cycles(self) -> dict[str, int]:
        """Return the cycles of each layer in the last start that ended."""
        with self._exclusive():
            if self._last is None:
                raise CelosiaError("no program has run to its end: run one first")
            cycles, before = {}, 0
            for name, address in self._last.deployment.stamps:
                raw = self._transport.read_memory(address, _STAMP_BYTES)
                end = int.from_bytes(raw.tobytes(), "little")
                cycles[name], before = end - before, end
            return cycles

    def clear(self) -> None:
        """Bring the engine to rest, whatever runs on it, of whomever.

        Raises :class:`EngineTimeoutError` when it does not come: its memory bus is stuck.
        """
        with self._exclusive():
            settle(self._known, self._transport, self._seconds)

    def _slot(self, index: int) -> _Slot:
        if not self._slots:
            raise CelosiaError("no program is loaded: call load() first")
        return self._slots[index % len(self._slots)]

    @property
    def _known(self) -> Registers:
        """The registers, once a load has said where they are."""
        if self._registers is None:
            raise CelosiaError("no program is loaded: call load() first")
        return self._registers

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the engine; not waited for, as two threads on one engine are a mistake."""
        if not self._in_use.acquire(blocking=False):
            raise BusyError(
                "another thread runs this engine: let it end, or give each thread an engine"
            )
        try:
            if self._closed:
                raise CelosiaError(
                    "the way to the engine was closed: make another Accelerator, with a new "
                    "transport"
                )
            yield
        finally:
            self._in_use.release()

    def _make_ready(self) -> None:
        """Refuse to disturb another's program; after a failure or a reset, load anew."""
        status = self._known.read_status()
        if status is self._left:
            return
        if status is Status.BUSY and self._left is not None:
            raise BusyError(
                "the engine runs a program that this run did not start: wait for it to end, or "
                "stop it with clear()"
            )
        # Power may have gone with the reset, and memory with it; or it is another board.
        self._take_over(self._slot(0).deployment)
        self._fill()

    def _stop(self) -> None:
        """Bring the engine to rest after something else went wrong, of which is told."""
        try:
            settle(self._known, self._transport, self._seconds)
        except CelosiaError:
            return  # the next run says so, where it still holds

    def _give(self, start: int, codes: Mapping[str, np.ndarray]) -> None:
        slot = self._slot(start)
        deployment, image = slot.deployment, slot.image
        for name in deployment.inputs:
            for index in range(deployment.samples):
                placement = deployment.placement(name).of(index)
                placement.write(image, codes[name][start * deployment.samples + index])
        for name in deployment.inputs:
            for index in range(deployment.samples):
                first, stop = deployment.placement(name).of(index).span
                part = image[first - deployment.base : stop - deployment.base]
                self._transport.write_memory(first, part)

    def _start(self, slot: _Slot) -> None:
        registers, deployment = self._known, slot.deployment
        base, limit = deployment.window
        for port, place in enumerate(self._stripes):
            registers.write_pair(f"stripe{port}_base", place)
        registers.write_pair("program", deployment.program_address)
        registers.write("program_chunks", deployment.chunks)
        registers.write_pair("window_base", base)
        registers.write_pair("window_limit", limit)
        registers.write("interrupt_enable", 1)
        registers.write("control", START)

    def _finish(self, start: int) -> None:
        registers, slot = self._known, self._slot(start)
        if not wait_for_end(registers, self._transport, self._seconds):
            raise explain_silence(registers, self._transport, slot.deployment, self._seconds)
        registers.write("interrupt_enable", 0)  # a level: lowered for whoever waits for it next
        self._cycles[start] = registers.read_pair(slot.deployment.counters[0])
        self._last = slot

    def _take(self, start: int, outputs: dict[str, np.ndarray]) -> None:
        deployment = self._slot(start).deployment
        for name, codes in outputs.items():
            for index in range(deployment.samples):
                placement = deployment.placement(name).of(index)
                codes[start * deployment.samples + index] = self._read(placement)

    def _read(self, placement: Placement) -> np.ndarray:
        """Return the codes of a tensor, of which no more than its bytes are fetched."""
        first, stop = placement.span
        return replace(placement, base=first).read(self._transport.read_memory(first, stop - first))

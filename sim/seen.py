"""The tensors that never leave the chip, as the post unit of a simulated dense engine makes them.

Every code that an engine makes passes the output of its post unit, and before that the registers
that maxima are taken of. Both are tapped: of each write, and of each step, the harness keeps a row.
Rows come in the order of the program, so :mod:`celosia.dataflow.made` says what each lane holds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.made import Codes, codes_made
from celosia.dataflow.microarchitecture import DRAIN_LATENCY, REQUANT_LATENCY, TABLE_LATENCY
from celosia.dataflow.program import BaseProgram, Program
from celosia.rtl.buffers import output_write_layout
from celosia.rtl.core import core_name
from celosia.sim.library import Model

VISIBLE: Final = (
    ("post", "write"),
    ("post_nest", "step"),
    ("requant_*", "code"),
    ("lookup*", "value"),
)
"""The modules of a dense engine and their signals that a build leaves visible for this."""

NEVER: Final = int(np.iinfo(np.int32).min)
"""Stands for a code that was never made, or put where it does not belong."""

_CYCLE_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What was seen of one tensor in one start.

    Attributes
    ----------
    codes : Codes
        Where it is made.
    values : numpy.ndarray
        int32 like ``codes.elements``: what the lanes held, :data:`NEVER` where nothing was made.
    cycles : numpy.ndarray
        int64, of each row: in which cycle of the harness it was made, -1 for never.
    """

    codes: Codes
    values: np.ndarray
    cycles: np.ndarray

    def tensor(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the tensor, and what of it was made several times and not alike each time.

        That is int32 of ``codes.shape``, indices into the flattened tensor, and the other codes.
        """
        tensor = np.full(int(np.prod(self.codes.shape)), NEVER, np.int32)
        inside = self.codes.elements >= 0
        elements, values = self.codes.elements[inside], self.values[inside]
        tensor[elements] = values
        again = tensor[elements] != values
        return tensor.reshape(self.codes.shape), elements[again], values[again]

    def cycle(self, element: int, expected: int) -> int | None:
        """Return in which cycle an element of the flattened tensor was made and not ``expected``.

        None where it was never made.
        """
        rows, lanes = np.nonzero(self.codes.elements == element)
        wrong = rows[self.values[rows, lanes] != expected]
        found = self.cycles[wrong if len(wrong) else rows]
        return int(found[0]) if len(found) and found[0] >= 0 else None


class Watch:
    """What is to be seen of a program's tensors: those that it keeps on chip.

    Parameters
    ----------
    program : BaseProgram
        Only programs of dense engines keep tensors.
    """

    def __init__(self, program: BaseProgram) -> None:
        made: tuple[Codes, ...] = ()
        if isinstance(program, Program) and program.kept:
            made = codes_made(program, frozenset(program.kept))
        self._program, self._made = program, made

    @property
    def made(self) -> tuple[Codes, ...]:
        """Where the codes of each tensor are made."""
        return self._made

    def codes(self, tensor: str) -> Codes | None:
        """Return where the codes of ``tensor`` are made, None where it is in memory."""
        return next((codes for codes in self._made if codes.tensor == tensor), None)

    def on(self, model: Model) -> Taps | None:
        """Return the taps of ``model``; None where it does not show what is needed."""
        accelerator = self._program.accelerator
        if not self._made or not isinstance(accelerator, Accelerator):
            return None
        taps = Taps(accelerator, model, self._made)
        return taps if taps.complete else None


class Taps:
    """The taps of one model.

    Parameters
    ----------
    accelerator : Accelerator
        What was built.
    model : Model
        One instance of it.
    made : sequence of Codes
        What is to be seen.
    """

    def __init__(self, accelerator: Accelerator, model: Model, made: Sequence[Codes]) -> None:
        self._accelerator, self._model, self._made = accelerator, model, made
        post = f"{core_name(accelerator)}.engine.post"
        self._writes = _Tap(model, (f"{post}", "write"), 0, [(post, "write")])
        self._steps: _Tap | None = None
        if any(codes.is_sums for codes in made):
            delay, lane, name = DRAIN_LATENCY + REQUANT_LATENCY, "lane_", "code"
            if accelerator.tables is not None:
                delay, lane, name = delay + TABLE_LATENCY, "lookup_", "value"
            signals = [(f"{post}.{lane}{n}", name) for n in range(accelerator.post_lanes)]
            self._steps = _Tap(model, (f"{post}.nest", "step"), delay, signals)

    @property
    def complete(self) -> bool:
        """Whether the model has all the signals."""
        return self._writes.found and (self._steps is None or self._steps.found)

    def clear(self) -> None:
        """Forget what was seen."""
        for tap in (self._writes, self._steps):
            if tap is not None:
                tap.clear()

    def seen(self) -> Iterator[Seen]:
        """Yield what was seen of each tensor since the last :meth:`clear`."""
        layout = output_write_layout(self._accelerator)
        start = {name: layout[name].offset for name in ("address", "group", "codes", "scales")}
        rows, cycles = self._writes.rows()
        addresses = _fields(rows, start["address"], start["group"] - start["address"], 1)[:, 0]
        groups = _fields(rows, start["group"], start["codes"] - start["group"], 1)[:, 0]
        for codes in self._made:
            if codes.is_sums:
                yield self._sums(codes)
                continue
            there = codes.numbers < len(rows)
            number = codes.numbers[there]
            right = addresses[number] == codes.addresses[there]
            there[there] = right & (groups[number] == codes.groups[there])
            number = codes.numbers[there]
            first = start["scales" if codes.is_scales else "codes"]
            lanes, bits = codes.elements.shape[1], codes.placement.lane_bits
            values = codes.placement.decode(_fields(rows[number], first, bits, lanes))
            yield _seen(codes, there, values, cycles[number])

    def _sums(self, codes: Codes) -> Seen:
        """Return what was seen of a tensor that maxima are taken of."""
        assert self._steps is not None
        rows, cycles = self._steps.rows()
        there = codes.numbers < len(rows)
        number, lanes = codes.numbers[there], codes.elements.shape[1]
        bits = self._accelerator.requant_bits
        # Each lane is a signal of its own, of whole bytes.
        each = rows[number].reshape(len(number) * lanes, rows.shape[1] // lanes)
        values = _fields(each, 0, bits, 1).reshape(-1, lanes)
        return _seen(codes, there, values - (values >> bits - 1 << bits), cycles[number])


class Sights:
    """What was seen in all starts of a run, whichever thread saw it.

    Parameters
    ----------
    watch : Watch
        What is to be seen.
    starts : int
        How many starts the run has.
    """

    def __init__(self, watch: Watch, starts: int) -> None:
        self._made = {codes.tensor: codes for codes in watch.made}
        self._starts = starts
        self._tensors: dict[str, np.ndarray] = {}
        self._others: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        self._lock = threading.Lock()

    def take(self, taps: Taps, start: int) -> None:
        """Take over what ``taps`` saw in a start."""
        for seen in taps.seen():
            name, samples = seen.codes.tensor, seen.codes.shape[0]
            tensor, again, others = seen.tensor()
            with self._lock:
                if name not in self._tensors:
                    shape = self._starts * samples, *tensor.shape[1:]
                    self._tensors[name] = np.full(shape, NEVER, np.int32)
                self._tensors[name][start * samples : (start + 1) * samples] = tensor
                if len(again):
                    parts = self._others.setdefault(name, [])
                    parts.append((again + start * tensor.size, others))

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Each tensor that was seen, as in :class:`celosia.sim.run.Run`."""
        return self._tensors

    @property
    def others(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What codes were besides, as in :class:`celosia.sim.run.Run`."""
        return {
            name: (np.concatenate([e for e, _ in parts]), np.concatenate([c for _, c in parts]))
            for name, parts in self._others.items()
        }

    @property
    def unmade(self) -> dict[str, np.ndarray]:
        """What nobody makes, as in :class:`celosia.sim.run.Run`."""
        each = {name: codes.unmade for name, codes in self._made.items() if codes.is_sums}
        return {n: np.tile(e, (self._starts, 1, 1, 1)) for n, e in each.items() if e.any()}

    @property
    def unseen(self) -> tuple[str, ...]:
        """The tensors that could not be seen."""
        return tuple(sorted(self._made.keys() - self._tensors.keys()))


class _Tap:
    """One tap: signals that are kept ``delay`` cycles after ``when`` is 1."""

    def __init__(
        self,
        model: Model,
        when: tuple[str, str],
        delay: int,
        signals: Sequence[tuple[str, str]],
    ) -> None:
        self._model = model
        self._tap = model.tap(*when, delay)
        self._bytes: list[int] = []
        if self._tap is not None:
            self._bytes = [model.tap_signal(self._tap, *signal) for signal in signals]

    @property
    def found(self) -> bool:
        return bool(self._bytes) and all(self._bytes)

    def clear(self) -> None:
        if self._tap is not None:
            self._model.clear_tap(self._tap)

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the signals' bytes, uint8 (rows, bytes), and the cycle of each row."""
        assert self._tap is not None
        rows = self._model.tapped(self._tap, sum(self._bytes))
        cycles = np.ascontiguousarray(rows[:, :_CYCLE_BYTES]).view("<i8").reshape(-1)
        return rows[:, _CYCLE_BYTES:], cycles


def _fields(rows: np.ndarray, start: int, bits: int, count: int) -> np.ndarray:
    """Return ``count`` fields of ``bits`` bits of each of ``rows`` from bit ``start`` on, int64."""
    values = np.zeros((len(rows), count), np.int64)
    for number in range(count):
        first = start + number * bits
        for byte in range(first // 8, -(-(first + bits) // 8)):
            shift = 8 * byte - first
            part = rows[:, byte].astype(np.int64)
            values[:, number] |= part << shift if shift >= 0 else part >> -shift
    return values & (1 << bits) - 1


def _seen(codes: Codes, there: np.ndarray, values: np.ndarray, cycles: np.ndarray) -> Seen:
    """Return what was seen in the rows ``there`` of ``codes``."""
    every = np.full(codes.elements.shape, NEVER, np.int32)
    every[there] = values
    when = np.full(len(there), -1, np.int64)
    when[there] = cycles
    return Seen(codes=codes, values=every, cycles=when)

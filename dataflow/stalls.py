"""Why the array does not compute: each cycle of a program, from start to end, by its cause.

The array waits for its next nest, and is given the reason for which that nest was accepted no
earlier. Where that is operands, the load that brought the last of them is asked the same: the part
of the wait before it was accepted goes to what it waited for, the part after to the memory.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.descriptors import Token
from celosia.dataflow.event_walk import Walked
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.table import Column, Kind
from celosia.dataflow.walk_kernel import BUSY, FETCH

REQUEST_CYCLES = 3
"""From a load's accept to its first burst on AR."""


class Stall(enum.Enum):
    """What a cycle went to."""

    NONE = "none"
    """The array computes."""
    FETCH = "fetch"
    """A descriptor had not been fetched and handed over."""
    LATENCY = "latency"
    """The memory had not answered yet."""
    BANDWIDTH = "bandwidth"
    """The memory, or the port, was busy with these operands or with those before."""
    BUFFER = "buffer"
    """A load waited for a place in its buffer that was still in use."""
    OUTPUTS = "outputs"
    """What is to be read had not been stored or kept by the layer before."""
    POST = "post"
    """The accumulators had not been drained."""
    TAIL = "tail"
    """The last nest was over: the rest is post-processing and storing."""


_OF_COMPUTE = {
    BUSY: Stall.NONE,
    FETCH: Stall.FETCH,
    Token.POST_COMPUTE: Stall.POST,
    Token.STORE_COMPUTE: Stall.OUTPUTS,
}
_OF_LOAD = {
    BUSY: Stall.BANDWIDTH,
    FETCH: Stall.FETCH,
    Token.COMPUTE_LOAD: Stall.BUFFER,
    Token.POST_LOAD: Stall.BUFFER,
    Token.STORE_LOAD: Stall.OUTPUTS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Cycles ``begin`` to ``end`` - 1 in which the array did not compute, and why.

    ``row`` is the compute that came after them; None where none did.
    """

    row: int | None
    stall: Stall
    begin: int
    end: int


def waits(table: np.ndarray, walked: Walked, memory: MemoryModel) -> Iterator[Wait]:
    """Yield what the array waited for, in order: these and its nests are all of ``walked.cycles``.

    Parameters
    ----------
    table : numpy.ndarray
        The program, see :func:`celosia.dataflow.table.tabulate`.
    walked : Walked
        When everything happened.
    memory : MemoryModel
        What it was walked with.
    """
    loads, ready = _givers(table), 0
    for row in np.flatnonzero(table[:, Column.KIND] == Kind.COMPUTE).tolist():
        accepted, cause = int(walked.accepted[row]), int(walked.causes[row])
        if accepted > ready:
            if cause == Token.LOAD_COMPUTE:
                parts = _wait_for_load(loads[row], (ready, accepted), walked, memory)
            else:
                parts = ((_OF_COMPUTE[cause], ready, accepted),)
            for stall, begin, end in parts:
                if end > begin:
                    yield Wait(row=row, stall=stall, begin=begin, end=end)
        ready = accepted + int(table[row, Column.WORK])
    if walked.cycles > ready:
        yield Wait(row=None, stall=Stall.TAIL, begin=ready, end=walked.cycles)


def stalls(
    table: np.ndarray, walked: Walked, memory: MemoryModel, ends: Sequence[int]
) -> tuple[dict[Stall, int], ...]:
    """Return what the cycles went to, for each of the layers that end before rows ``ends``.

    A wait is of the layer whose nest waited. All values of all layers add up to ``walked.cycles``.

    Parameters
    ----------
    table, walked, memory
        As :func:`waits` takes them.
    ends : sequence of int
        The first row after each layer, increasing; the last layer takes what follows.
    """
    found: list[dict[Stall, int]] = [dict.fromkeys(Stall, 0) for _ in ends]
    rows = np.flatnonzero(table[:, Column.KIND] == Kind.COMPUTE)
    layers = np.searchsorted(np.asarray(ends), rows, side="right")
    computed = np.bincount(layers, weights=table[rows, Column.WORK], minlength=len(ends))
    for layer, steps in zip(found, computed.tolist(), strict=True):
        layer[Stall.NONE] = int(steps)
    for wait in waits(table, walked, memory):
        of = -1 if wait.row is None else int(np.searchsorted(ends, wait.row, side="right"))
        found[of][wait.stall] += wait.end - wait.begin
    return tuple(found)


def _givers(table: np.ndarray) -> dict[int, int]:
    """Return, for each row that waits for a load's operands, the row of the load that gives them.

    A token is given and taken in the order of the descriptors of each unit.
    """
    bit = 1 << Token.LOAD_COMPUTE
    givers = np.flatnonzero(table[:, Column.SIGNAL] & bit)
    takers = np.flatnonzero(table[:, Column.WAIT] & bit)
    return dict(zip(takers.tolist(), givers.tolist(), strict=False))


def _wait_for_load(
    load: int, wait: tuple[int, int], walked: Walked, memory: MemoryModel
) -> tuple[tuple[Stall, int, int], ...]:
    """Share out the cycles of a ``wait`` (half-open) for what ``load`` brings."""
    accepted, cause = int(walked.accepted[load]), int(walked.causes[load])
    answered = accepted + REQUEST_CYCLES + memory.latency
    first, last = wait
    asked, come = (min(max(bound, first), last) for bound in (accepted, answered))
    return (
        (_OF_LOAD[cause], first, asked),
        (Stall.LATENCY, asked, come),
        (Stall.BANDWIDTH, come, last),
    )

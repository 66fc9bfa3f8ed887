"""Why the array does not compute: each cycle of a program, from start to end, by its cause.

The array waits for its next nest, and is given the reason for which that nest was accepted no
earlier. Where that is operands, the load that brought the last of them is asked the same: the part
of the wait before it was accepted goes to what it waited for, the part after to the memory.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

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


def stalls(
    table: np.ndarray, walked: Walked, memory: MemoryModel, ends: Sequence[int]
) -> tuple[dict[Stall, int], ...]:
    """Return what the cycles went to, for each of the layers that end before rows ``ends``.

    A wait is of the layer whose nest waited. All values of all layers add up to ``walked.cycles``.

    Parameters
    ----------
    table : numpy.ndarray
        The program, see :func:`celosia.dataflow.table.tabulate`.
    walked : Walked
        When everything happened.
    memory : MemoryModel
        What it was walked with.
    ends : sequence of int
        The first row after each layer, increasing; the last layer takes what follows.
    """
    loads = _givers(table)
    found: list[dict[Stall, int]] = [dict.fromkeys(Stall, 0) for _ in ends]
    ready, layer = 0, 0
    for row in np.flatnonzero(table[:, Column.KIND] == Kind.COMPUTE).tolist():
        while row >= ends[layer]:
            layer += 1
        accepted, cause = int(walked.accepted[row]), int(walked.causes[row])
        if accepted > ready:
            if cause == Token.LOAD_COMPUTE:
                _wait_for_load(loads[row], (ready, accepted), walked, memory, found[layer])
            else:
                found[layer][_OF_COMPUTE[cause]] += accepted - ready
        steps = int(table[row, Column.WORK])
        found[layer][Stall.NONE] += steps
        ready = accepted + steps
    found[-1][Stall.TAIL] += walked.cycles - ready
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
    load: int,
    wait: tuple[int, int],
    walked: Walked,
    memory: MemoryModel,
    found: dict[Stall, int],
) -> None:
    """Share out the cycles of a ``wait`` (half-open) for what ``load`` brings."""
    accepted, cause = int(walked.accepted[load]), int(walked.causes[load])
    answered = accepted + REQUEST_CYCLES + memory.latency
    first, last = wait
    bounds = [min(max(bound, first), last) for bound in (accepted, answered)]
    found[_OF_LOAD[cause]] += bounds[0] - first
    found[Stall.LATENCY] += bounds[1] - bounds[0]
    found[Stall.BANDWIDTH] += last - bounds[1]

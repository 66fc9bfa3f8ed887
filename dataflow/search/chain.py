"""The least cycles of steps that run one after another: who must wait for whom, at least.

A unit takes the steps of a program in order, and every word that a step reads is in its buffer, or
on its way into it, before it is used. For each step :func:`least_cycles` bounds the cycle in which
its last word arrives, its last product and its last output word are made, and its last beat is
written, each by the greatest of

- *Order*: the same of the step before, and what the unit does for this step. The port takes no
  more bytes a cycle than the memory, the array makes one step a cycle.
- *Use*: the last word that the array reads arrives before the last compute step, that is before
  the last post step, that is before the last beat is written. Between two of them lie the
  latencies that ``docs/architecture.md`` fixes (section "Units and tokens").
- *Capacity of a buffer of operands*: at the last compute step of step n nothing that later steps
  use has been used. So what of it has arrived lies in the buffers, which hold so much and no
  more; all the rest arrives later. A step's weights can be there early, but not more of them
  than the buffer holds.
- *Capacity of the accumulators*: at the last post step of step n no sum of a later step has left
  the accumulators, and a sum takes no more compute steps than it has products. What a full
  buffer of sums does not hold is computed later.
- *Tensors in memory*: where a step reads every word of a tensor that step n stores, the last of
  them is loaded after the memory has acknowledged it.

None of them depends on the mapping, so nor does their greatest. How compute steps of a layer wait
for its own loads but the last, halos, loads that are repeated, and descriptors cost nothing here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.event_walk import machine_of
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.microarchitecture import READ_LATENCY

_FIRST_LOAD = 8 + READ_LATENCY
"""Cycles from the start to the first beat of a load, but for twice the memory's latency: the
program's read is on AR at 3, and from where its last beat comes to AR of the load pass 5."""

_TO_COMPUTE = 3 + READ_LATENCY
"""From the last beat of a load to the first compute step that waits for it."""

_TO_POST = 2
"""From a compute step to the first post step that waits for it, but for the array's latency."""

_TO_STORE = 4
"""From a post step to the first beat written, but for the latency of post."""

_TO_LOAD = 5
"""From the acknowledgement of a store to the first beat of a load, but for the latency."""

_TO_END = 8
"""From a step's last beat written to the count of cycles, but for twice the latency: 5 cycles
after its acknowledgement the layer's stamp is written, 2 after that one's the end is accepted."""

_ARRAY_READS = 2
"""Of ``Needs.loads``, those that the array reads; post reads the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a step needs at least, in any mapping.

    Attributes
    ----------
    loads : tuple of int
        Beats of activations, of weights, of constants and of residual operands.
    compute, post : int
        Steps of the array and of the post lanes.
    stored : int
        Beats of outputs.
    sum_steps : int
        Compute steps that one word of accumulators takes at most until it is posted.
    """

    loads: tuple[int, int, int, int]
    compute: int
    post: int
    stored: int
    sum_steps: int


def least_cycles(
    needs: Sequence[Needs], makers: Sequence[int], accelerator: Accelerator, memory: MemoryModel
) -> int:
    """Return the least cycles from start to interrupt of steps that run in order.

    Parameters
    ----------
    needs
        Of each step; one step at least.
    makers
        For each step the number of an earlier one of which it reads every word from memory, or -1.
    accelerator, memory
        What they run on, attached to what.
    """
    machine = machine_of(accelerator, memory)
    size, rate, latency = machine.bus_bytes, machine.rate, machine.latency

    def arrives(free: int) -> int:
        """Return the cycle of the beat after which a channel is free at ``free`` / rate."""
        return -(-(free - size) // rate)

    holds = _capacity(accelerator)
    word = accelerator.beats(accelerator.activation_word_bits)
    weight = accelerator.beats(accelerator.weight_word_bits)
    count = len(needs)
    # In the row of step n, what all steps before it load; and compute.
    loaded = np.zeros((count + 1, len(holds)), np.int64)
    np.cumsum([need.loads for need in needs], axis=0, out=loaded[1:])
    worked = np.concatenate([[0], np.cumsum([need.compute for need in needs])])
    sums = np.array([need.sum_steps for need in needs]) * accelerator.buffers.accumulators
    computed, posted = np.zeros((2, count + 1), np.int64)
    written = [0] * count
    begin = (2 * latency + _FIRST_LOAD) * rate
    reads, writes = begin, 0
    computed[0] = arrives(begin + weight * size) + _TO_COMPUTE - 1
    for step, need in enumerate(needs):
        ahead = loaded[step + 1] - loaded[: step + 1]
        behind = computed[: step + 1] * rate
        behind[0] = begin
        array = ahead.copy()
        array[:, _ARRAY_READS:] -= need.loads[_ARRAY_READS:]
        used = reads + sum(need.loads[:_ARRAY_READS]) * size
        used = max(used, _after(behind, array, holds, size))
        reads = max(reads + sum(need.loads) * size, _after(behind, ahead, holds, size))
        maker = makers[step]
        if maker >= 0:
            stored = written[maker] + 2 * latency + _TO_LOAD
            reads = max(reads, stored * rate + word * size)
        begun = np.maximum.accumulate(sums[step::-1])[::-1]
        left = worked[step + 1] - worked[: step + 1] - begun
        left[0] = 0
        computed[step + 1] = max(
            int(computed[step]) + need.compute,
            arrives(used) + _TO_COMPUTE,
            int((posted[: step + 1] + left).max()),
        )
        posted[step + 1] = max(
            int(posted[step]) + need.post,
            int(computed[step + 1]) + machine.compute_latency + _TO_POST,
            arrives(reads) + _TO_COMPUTE,
        )
        made = int(posted[step + 1])
        if need.stored:
            out = (made + machine.post_latency + _TO_STORE - 1) * rate + word * size
            writes = max(writes + need.stored * size, out)
            made = arrives(writes)
        written[step] = made
    return max(
        done + (2 if need.stored else 1) * latency + _TO_END
        for done, need in zip(written, needs, strict=True)
    )


def _capacity(accelerator: Accelerator) -> np.ndarray:
    """Return the beats that buffers hold, in the order of ``Needs.loads``.

    Each pixel lane has activations of its own.
    """
    buffers = accelerator.buffers
    word = accelerator.beats(accelerator.activation_word_bits)
    return np.array(
        [
            buffers.activations * accelerator.array.pixels * word,
            buffers.weights * accelerator.beats(accelerator.weight_word_bits),
            buffers.constants * accelerator.beats(accelerator.constant_word_bits),
            buffers.residuals * word,
        ]
    )


def _after(times: np.ndarray, loads: np.ndarray, holds: np.ndarray, size: int) -> int:
    """Return when the port is free if after each of ``times`` arrives what buffers do not hold.

    The first row is of the start, when buffers hold nothing.
    """
    rest = (loads - np.minimum(loads, holds)).sum(axis=1)
    rest[0] = loads[0].sum()
    return int((times + rest * size).max())

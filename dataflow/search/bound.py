"""What a step costs at least, however it is mapped."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from celosia.dataflow.energy import EnergyTable, energy
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.program import Counter
from celosia.dataflow.search.chain import Needs, least_cycles
from celosia.dataflow.search.objective import Costs


class Reason(enum.Enum):
    """What bounds a step: the unit that is busy for longest."""

    COMPUTE = "compute"
    READS = "reads"
    WRITES = "writes"
    POST = "post"
    LATENCY = "latency"
    """None of them: it waits more than half of its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Cycles for which each unit is busy at least, and what that costs at least.

    Every weight, constant, activation and residual word that is used is read once and every output
    written once, at the memory's bandwidth; no product is made twice unless pooling windows
    overlap; descriptors and halos cost nothing. ``needs`` is what that was found from; the cycles
    of ``costs`` are those of :func:`celosia.dataflow.search.chain.least_cycles`.
    """

    compute: int
    reads: int
    writes: int
    post: int
    needs: Needs
    costs: Costs

    @property
    def reason(self) -> Reason:
        """The unit with the most cycles."""
        units = {
            Reason.COMPUTE: self.compute,
            Reason.READS: self.reads,
            Reason.WRITES: self.writes,
            Reason.POST: self.post,
        }
        return max(units, key=lambda reason: units[reason])


def _spread(count: int, stride: int, extent: int) -> int:
    """Return the least rows of sums for ``count`` rows of outputs, cut into tiles in any way."""
    return min((count - 1) * stride + extent, count * extent)


def _touched(count: int, stride: int, dilation: int, kernel: int) -> int:
    """Return the least input rows that ``count`` rows of sums read."""
    if dilation == 1:
        return _spread(count, stride, kernel)
    return count + kernel - 1  # as many sums as two sets of integers have at least


def lower_bound(
    plan: StepPlan, memory: MemoryModel, table: EnergyTable, *, chip: tuple[bool, bool]
) -> Bound:
    """Return what ``plan`` costs at least on its accelerator with ``memory``.

    ``chip`` says whether its input and its output may stay on chip: nothing is then loaded or
    stored.
    """
    accelerator, step = plan.accelerator, plan.step
    array, (height, width) = accelerator.array, plan.size
    pool, window = step.pool, step.window
    rows = _spread(-(-height // array.pixels), pool.stride[0], pool.extent[0])
    columns = _spread(width, pool.stride[1], pool.extent[1])
    words = sum(tile.input_words for tile in plan.tiles)
    samples = plan.samples
    compute = samples * words * math.prod(plan.kernel) * plan.passes
    # Windows pass over all words that they reach.
    compute *= _spread(rows, window.stride[0] if plan.reach[0] else 1, plan.reach[0] + 1)
    compute *= _spread(columns, window.stride[1] if plan.reach[1] else 1, plan.reach[1] + 1)
    groups = sum(tile.groups for tile in plan.tiles)
    post = samples * groups * plan.maxima
    # Strided windows may leave rows and columns of the input out.
    sums = _spread(height, pool.stride[0], pool.extent[0])
    tall = _touched(sums, window.stride[0], window.dilation[0], window.kernel[0])
    wide = _touched(columns, window.stride[1], window.dilation[1], window.kernel[1])
    distinct = len({word for tile in plan.tiles for run in tile.runs for word in range(*run)})
    activation = accelerator.beats(accelerator.activation_word_bits)
    weight = accelerator.beats(accelerator.weight_word_bits)
    constant = accelerator.beats(accelerator.constant_word_bits)
    stored = sum(stop - start for block in plan.blocks for start, stop in block.runs)
    stored *= samples * height * width * activation
    loads = (
        0 if chip[0] else samples * distinct * tall * wide * activation,
        words * math.prod(plan.weight_kernel(*plan.kernel)) * weight,
        groups * constant,
        stored if step.residual is not None else 0,
    )
    read = sum(loads)
    stored = 0 if chip[1] else stored
    most = max(tile.input_words for tile in plan.tiles)
    needs = Needs(
        loads=loads,
        compute=compute,
        post=post,
        stored=stored,
        sum_steps=most * math.prod(plan.kernel) * plan.passes,
    )
    rate = memory.on_bus(accelerator.bus).bytes_per_cycle
    size = accelerator.bus.data_bytes
    reads, writes = -(-read * size // rate), -(-stored * size // rate)
    counters = dict.fromkeys(Counter, 0) | {
        Counter.COMPUTE_STEPS: compute,
        Counter.POST_STEPS: post,
        Counter.READ_BEATS: read,
        Counter.WRITE_BEATS: stored,
    }
    costs = Costs(
        cycles=least_cycles([needs], [-1], accelerator, memory),
        energy=energy(counters, accelerator, table).total,
        dram=(read + stored) * size,
    )
    return Bound(compute=compute, reads=reads, writes=writes, post=post, needs=needs, costs=costs)


def _reads_all_of(plan: StepPlan, bound: Bound, maker: StepPlan) -> bool:
    """Return whether a step loads every word that ``maker`` makes, as its input or residual."""
    made = maker.step.output
    if plan.step.residual == made:
        return True
    if (
        plan.step.input != made
        or plan.distinct_words < maker.stored_words
        or not bound.needs.loads[0]
    ):
        return False
    window, rows = plan.step.window, plan.step.conv_size(plan.size)
    return all(
        stride <= kernel and dilation == 1 and (count - 1) * stride + kernel - border >= extent
        for stride, kernel, dilation, count, border, extent in zip(
            window.stride, window.kernel, window.dilation, rows, window.padding,
            plan.source.shape[1:], strict=False,
        )
    )  # fmt: skip


def network_bound(plans: Sequence[StepPlan], bounds: Sequence[Bound], memory: MemoryModel) -> Costs:
    """Return what ``plans``, of which each costs its one of ``bounds`` at least, cost together."""
    makers = [
        max((n for n in range(number) if _reads_all_of(plan, bound, plans[n])), default=-1)
        for number, (plan, bound) in enumerate(zip(plans, bounds, strict=True))
    ]
    needs = [bound.needs for bound in bounds]
    return Costs(
        cycles=least_cycles(needs, makers, plans[0].accelerator, memory),
        energy=sum(bound.costs.energy for bound in bounds),
        dram=sum(bound.costs.dram for bound in bounds),
    )

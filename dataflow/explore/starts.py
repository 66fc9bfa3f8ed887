"""Where a search begins, and the least that an accelerator of a budget can do.

Strategies have few evaluations to spend, so they are given points to begin with: those that an
evolutionary search likes best which knows areas and a rough count of cycles, and maps nothing.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Final

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import ArrayShape
from celosia.dataflow.explore.demand import Ability
from celosia.dataflow.explore.evolution import Evolution
from celosia.dataflow.explore.knobs import Point
from celosia.dataflow.explore.outcome import Goal, Outcome
from celosia.dataflow.explore.space import AcceleratorSpace
from celosia.dataflow.explore.strategy import Score, Trial
from celosia.dataflow.memory import MemoryModel
from celosia.models.errors import CelosiaError
from celosia.models.formats import Format
from celosia.models.network import Conv, Network

Area = Callable[[Accelerator], dict[str, float]]
"""What an accelerator takes of a device: ``lut``, ``ff``, ``dsp``, ``bram``."""

_GENERATIONS: Final = 60
_POPULATION: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a convolution asks of an array: sizes and formats.

    ``abilities`` are what its rows need, with how many of them do. There are ``rows`` output
    channels of ``inputs`` channels a group, under a window of ``window`` positions. ``source`` are
    the pixels of a channel before, ``height`` and ``width`` those after.
    """

    abilities: tuple[tuple[Ability, int], ...]
    rows: int
    inputs: int
    groups: int
    window: int
    source: int
    height: int
    width: int

    def cycles(self, accelerator: Accelerator, rate: float, samples: int = 1) -> float:
        """Return about how many cycles one of ``samples`` samples of a start takes.

        The memory moves ``rate`` bytes a cycle.
        """
        array = accelerator.array
        columns, lanes, pixels = array.column_count, array.lanes, array.pixels
        tiles = self._tiles(array)
        if self.groups == 1:
            # With few channels, window positions lie in the idle lanes.
            few = self.inputs < lanes
            steps = -(-self.inputs * self.window // lanes)
            steps = steps if few else -(-self.inputs // lanes) * self.window
        else:
            steps = -(-min(columns, self.rows) * self.inputs // lanes) * self.window
        target = self.height * self.width
        compute = tiles * steps * -(-self.height // pixels) * self.width
        post = -(-self.rows // accelerator.post_lanes) * target
        beat = accelerator.bus.data_bytes / rate
        word = accelerator.beats(accelerator.activation_word_bits) * beat
        weights = tiles * steps * accelerator.beats(accelerator.weight_word_bits) * beat
        load = weights / samples + -(-self.inputs * self.groups // lanes) * self.source * word
        store = -(-self.rows // lanes) * target * word
        return max(compute, post, load, store)

    def _tiles(self, array: ArrayShape) -> int:
        """Return the least passes over the columns that hold all rows."""
        least = -(-self.rows // array.column_count)
        for (fmt, operation), rows in self.abilities:
            serving = sum(
                group.count
                for group in array.columns
                if group.operation == operation and _covers(group.format, fmt)
            )
            least = max(least, -(-rows // max(serving, 1)))
        return least


@functools.cache
def _covers(by: Format, fmt: Format) -> bool:
    return by.covers(fmt)


def works(network: Network) -> tuple[Work, ...]:
    """Return what each convolution of ``network`` asks for."""
    found = []
    for op in network.ops:
        if not isinstance(op, Conv):
            continue
        _, height, width = network.tensor(op.output).shape
        rows, inputs, *kernel = op.weights.shape
        found.append(
            Work(
                abilities=tuple(Counter((fmt, op.operation) for fmt in op.formats).items()),
                rows=rows,
                inputs=inputs,
                groups=op.groups,
                window=math.prod(kernel),
                source=math.prod(network.tensor(op.input).shape[1:]),
                height=height,
                width=width,
            )
        )
    return tuple(found)


def memory_rate(accelerator: Accelerator, memory: MemoryModel) -> float:
    """Return the bytes that one direction of the memory port moves a cycle at most."""
    return memory.on_bus(accelerator.bus).bytes_per_cycle


def starts(
    space: AcceleratorSpace,
    goal: Goal,
    area: Area,
    networks: Sequence[Network],
    memory: MemoryModel,
    count: int = 8,
) -> list[Point]:
    """Return up to ``count`` points to begin with, the best first; the same each time."""
    wanted = [works(network) for network in networks]
    strategy = Evolution(space, seed=0, population=_POPULATION)
    trials: dict[Point, Trial] = {}
    for _ in range(_GENERATIONS):
        told = []
        for point in strategy.ask():
            accelerator, variant = space.accelerator(point), space.variant(point)
            outline = Outcome(area=area(accelerator))
            rate = memory_rate(accelerator, memory)
            cycles = sum(work.cycles(accelerator, rate, goal.samples) for work in wanted[variant])
            # Of equally quick ones that with the larger buffers: how they help is not counted.
            room = sum(math.log2(depth) for depth in astuple(accelerator.buffers))
            violation = goal.violation(outline, variant)
            score = Score(values=(cycles, -room), violation=violation)
            told.append(Trial(point=point, score=score))
        if not told:
            break
        strategy.tell(told)
        trials |= {trial.point: trial for trial in told}
    best = sorted(trials.values(), key=lambda trial: trial.rank)
    chosen: dict[tuple[object, ...], Point] = {}
    for trial in best:
        array = space.accelerator(trial.point).array
        chosen.setdefault((array.column_count, array.lanes, array.pixels), trial.point)
    return list(chosen.values())[:count]


def smallest(space: AcceleratorSpace) -> Iterator[Point]:
    """Yield the smallest accelerator of each choice of variant, formats and circuits."""
    sizes = len(space.knobs) - 4
    for point in _choices(space, (), 4):
        yield (*point, *(0 for _ in range(sizes)))


def _choices(space: AcceleratorSpace, before: Point, count: int) -> Iterator[Point]:
    if len(before) == count:
        yield before
        return
    for index in space.allowed(before):
        yield from _choices(space, (*before, index), count)


def array_size(array: ArrayShape) -> str:
    """Return how large an array is, in words."""
    counts = {"column": array.column_count, "lane": array.lanes, "pixel": array.pixels}
    said = [f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counts.items()]
    return f"{said[0]}, {said[1]} and {said[2]}"


def check_budget(space: AcceleratorSpace, goal: Goal, area: Area) -> None:
    """Raise :class:`CelosiaError` if not even the smallest accelerator is within the limits.

    It names each limit that the nearest one breaks, and by how much.
    """
    nearest: tuple[float, list[str], Accelerator] | None = None
    for point in smallest(space):
        accelerator, variant = space.accelerator(point), space.variant(point)
        outline = Outcome(area=area(accelerator))
        violation = goal.violation(outline, variant)
        if not violation:
            return
        if nearest is None or violation < nearest[0]:
            nearest = violation, goal.broken(outline, variant), accelerator
    if nearest is not None:
        raise CelosiaError(
            "no accelerator fits, not even the smallest that can run this network, of "
            f"{array_size(nearest[2].array)}: {'; '.join(nearest[1])}"
        )

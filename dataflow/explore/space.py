"""The space of dense accelerators for a network: every point of it is one that can be built.

Knobs are sizes and shares. Where two do not go together (post lanes that divide neither columns
nor lanes, fewer columns than formats) the accelerator takes the nearest that do, so
no point is wasted and several may be the same accelerator: it is evaluated once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.explore.demand import Ability, Demand
from celosia.dataflow.explore.knobs import Knob, Point, Space
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.operations import MULTIPLY

PARTS: Final = 8
"""Columns are shared out in eighths."""

COLUMNS: Final = (
    1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 256,
)  # fmt: skip
LANES: Final = (4, 8, 16, 32, 64)
PIXELS: Final = (1, 2, 3, 4, 6, 7, 8, 12, 14, 16)
DATA_BITS: Final = (64, 128, 256, 512)
POST_LANES: Final = (1, 2, 4, 8, 16, 32)
DEPTHS: Final[Mapping[str, tuple[int, ...]]] = {
    "activations": (256, 512, 1024, 2048, 4096, 8192, 16384),
    "weights": (64, 128, 256, 512, 1024, 2048, 4096),
    "accumulators": (32, 64, 128, 256, 512, 1024, 2048),
    "constants": (16, 32, 64, 128, 256),
    "residuals": (64, 128, 256, 512, 1024, 2048, 4096, 8192),
    "outputs": (64, 128, 256, 512, 1024, 2048, 4096, 8192),
}
SCALABLE: Final = ("none", *(circuit.value for circuit in Circuit if circuit.scalable))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How many eighths of the columns each of a variant's abilities has; ``variant`` numbers it.

    An ability without columns is covered by another's: 8-bit columns hold 4-bit weights.
    """

    variant: int
    eighths: tuple[int, ...]


class AcceleratorSpace(Space):
    """Accelerators for one network, or for variants of one that differ in formats.

    Parameters
    ----------
    demands
        What each variant asks for.
    hard
        What columns take that multiply in a device's multiplier blocks: ``DSP`` where packing is
        built for it, ``LANES`` where synthesis maps products to blocks. The other fixed-point
        columns and all other formats are look-up tables.
    name
        What accelerators are called.
    fixed
        Values that knobs are limited to, by the knob's name.

    Raises
    ------
    CelosiaError
        When ``fixed`` names no knob, or a value that the knob does not have; when no array
        can do what a variant asks for.
    """

    def __init__(
        self,
        demands: Sequence[Demand],
        hard: Circuit,
        name: str,
        fixed: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self.demands = tuple(demands)
        self.hard = hard
        self.name = name
        scalable = SCALABLE if all(need.scalable for need in self.demands) else SCALABLE[:1]
        lanes = [n for n in LANES if all(need.holds_lanes(n) for need in self.demands)]
        if not lanes:
            scalable, lanes = scalable[1:], list(LANES)
        if not scalable:
            raise CelosiaError(
                "no array can run this network: sums of its formats do not fit its columns at any "
                "number of lanes; quantise weights or activations to fewer bits"
            )
        knobs = [
            Knob(name="variant", choices=tuple(range(len(self.demands))), ordered=False),
            Knob(name="shares", choices=tuple(self._shares())),
            Knob(name="hard", choices=tuple(range(0, PARTS + 1, 2))),
            Knob(name="scalable", choices=tuple(scalable), ordered=False),
            Knob(name="columns", choices=COLUMNS),
            Knob(name="lanes", choices=tuple(lanes)),
            Knob(name="pixels", choices=PIXELS),
            Knob(name="data_bits", choices=DATA_BITS),
            Knob(name="post_lanes", choices=POST_LANES),
            *(Knob(name=buffer, choices=depths) for buffer, depths in DEPTHS.items()),
            Knob(name="activation_banks", choices=(1, 2)),
        ]
        self._knobs = tuple(_limited(knobs, fixed or {}))
        self._by_variant = [
            [i for i, shares in enumerate(self._knobs[1].choices) if shares.variant == variant]
            for variant in range(len(self.demands))
        ]

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What can be chosen."""
        return self._knobs

    def allowed(self, before: Sequence[int]) -> Sequence[int]:
        """Return the choices of the next knob: shares are those of the chosen variant."""
        if len(before) == 1:
            return self._by_variant[self._knobs[0].choices[before[0]]]
        return super().allowed(before)

    def _shares(self) -> Iterable[Shares]:
        for variant, need in enumerate(self.demands):
            covering = [
                eighths
                for eighths in _compositions(PARTS, len(need.abilities))
                if _serve(need.abilities, eighths)
            ]
            alone = [eighths for eighths in covering if PARTS in eighths]
            # Vectors with scales want channels in order, as columns of one format leave them.
            chosen = alone if need.scaling is not None and alone else covering
            yield from (Shares(variant=variant, eighths=eighths) for eighths in chosen)

    def variant(self, point: Point) -> int:
        """Return the number of the variant that a point runs."""
        return int(self._knobs[0].choices[point[0]])

    def accelerator(self, point: Point) -> Accelerator:
        """Return the accelerator that a point stands for."""
        values = self.values(point)
        need = self.demands[values["variant"]]
        scalable = Circuit(values["scalable"]) if values["scalable"] != SCALABLE[0] else None
        lanes = values["lanes"]
        if scalable is None:
            columns = self._columns(need, values)
        else:
            widest = max((fmt for fmt, _ in need.abilities), key=lambda fmt: fmt.bits)
            columns = (ColumnGroup(format=widest, count=values["columns"], circuit=scalable),)
            lanes = max(lanes, 16) if scalable is Circuit.FUSION else lanes
        array = ArrayShape(
            columns=columns,
            lanes=lanes,
            pixels=values["pixels"],
            accumulator_bits=need.accumulator_bits,
            activation_bits=need.activation_bits,
            scaling=need.scaling,
            elements=need.elements,
        )
        data_bits = values["data_bits"]
        return Accelerator(
            name=self.name,
            array=array,
            buffers=Buffers(
                **{buffer: values[buffer] for buffer in DEPTHS},
                activation_banks=values["activation_banks"],
            ),
            bus=Bus(data_bits=data_bits, burst_beats=min(64, 4096 * 8 // data_bits)),
            post_lanes=_post_lanes(array, values["post_lanes"]),
            tables=need.tables,
        )

    def _columns(self, need: Demand, values: Mapping[str, Any]) -> tuple[ColumnGroup, ...]:
        eighths = values["shares"].eighths
        unit = array_unit(need)
        counts = _shared_out(values["columns"], eighths, unit)
        groups = []
        for (fmt, operation), count in zip(need.abilities, counts, strict=True):
            hard = 0
            if isinstance(fmt, Fixed) and operation == MULTIPLY:
                hard = round(count * values["hard"] / PARTS)
            soft = Circuit.LUTS if operation == MULTIPLY else Circuit.LANES
            for circuit, number in ((self.hard, hard), (soft, count - hard)):
                if number:
                    groups.append(
                        ColumnGroup(format=fmt, count=number, circuit=circuit, operation=operation)
                    )
        return tuple(groups)


def array_unit(need: Demand) -> int:
    """Return what the number of columns must be a multiple of: lanes of a vector of outputs."""
    return need.scaling.vector if need.scaling is not None and need.elements is not None else 1


def _compositions(total: int, parts: int) -> Iterable[tuple[int, ...]]:
    """Yield all ways to write ``total`` as a sum of ``parts`` integers of 0 or more."""
    for bars in itertools.combinations(range(total + parts - 1), parts - 1):
        ends = (-1, *bars, total + parts - 1)
        yield tuple(b - a - 1 for a, b in itertools.pairwise(ends))


def _serve(abilities: Sequence[Ability], eighths: Sequence[int]) -> bool:
    """Whether the abilities that have a share cover all."""
    present = [ability for ability, part in zip(abilities, eighths, strict=True) if part]
    return all(
        any(operation == mine and by.covers(fmt) for by, mine in present)
        for fmt, operation in abilities
    )


def _shared_out(columns: int, eighths: Sequence[int], unit: int) -> list[int]:
    """Return the columns of each share, at least one where there is a share at all.

    By largest remainders, of two the first. More columns than asked for where there are fewer
    than shares, or where the total must be a multiple of ``unit``.
    """
    columns = max(columns, sum(1 for part in eighths if part))
    columns = -(-columns // unit) * unit
    counts = [max(1, columns * part // PARTS) if part else 0 for part in eighths]
    while sum(counts) != columns:
        step = 1 if sum(counts) < columns else -1
        movable = [i for i, part in enumerate(eighths) if part and counts[i] + step > 0]
        lag = {i: step * (columns * eighths[i] / PARTS - counts[i]) for i in movable}
        counts[max(movable, key=lambda i: (lag[i], -i))] += step
    return counts


def _post_lanes(array: ArrayShape, wanted: int) -> int:
    """Return the most post lanes, up to ``wanted``, that the array may have; the least if none."""
    both = math.gcd(array.column_count, array.lanes)
    unit = array.vector_lanes if array.elements is not None else 1
    fitting = [n for n in range(unit, both + 1, unit) if both % n == 0]
    return max((n for n in fitting if n <= wanted), default=fitting[0])


def _limited(knobs: Iterable[Knob], fixed: Mapping[str, Sequence[Any]]) -> Iterable[Knob]:
    """Yield the knobs with the choices that ``fixed`` leaves."""
    known = {knob.name: knob for knob in knobs}
    for name, values in fixed.items():
        if name not in known or name in ("variant", "shares"):
            names = ", ".join(n for n in known if n not in ("variant", "shares"))
            raise CelosiaError(f"there is no knob {name!r} to fix: known are {names}")
        wrong = [value for value in values if value not in known[name].choices]
        if wrong or not values:
            choices = ", ".join(map(str, known[name].choices))
            raise CelosiaError(
                f"knob {name!r} cannot be {', '.join(map(str, wrong)) or 'nothing'}: "
                f"its choices are {choices}"
            )
    for name, knob in known.items():
        kept = tuple(c for c in knob.choices if c in fixed.get(name, knob.choices))
        yield Knob(name=name, choices=kept, ordered=knob.ordered)

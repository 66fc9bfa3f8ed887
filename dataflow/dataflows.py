"""The dataflows that have a name, as constraints on mappings.

What is stationary is what the array's innermost loops hold in place, and what the loops over
memory fetch once. :meth:`Dataflow.admits` says whether a mapping is of a dataflow, :meth:`mappings`
gives those of its tiles that are, :meth:`Dataflow.why_not` says what is against it.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator
from dataclasses import replace

from celosia.dataflow.mapping import (
    ARRAY_DIMENSIONS,
    INPUT_STATIONARY_ARRAY,
    OUTPUT_STATIONARY_ARRAY,
    PIXELS,
    REDUCTION,
    ROW_WISE_ARRAY,
    WEIGHT_STATIONARY_ARRAY,
    Dimension,
    LayerMapping,
    TileLoop,
    tiled,
)
from celosia.dataflow.plan import StepPlan
from celosia.models.errors import CelosiaError


class Dataflow(enum.Enum):
    """A named dataflow; loops of one iteration never matter.

    On the array the dimensions of ``INNER`` lie inside all others, and over memory no loop that
    changes what is stationary lies inside one that does not:

    - output: a sum is finished before the next begins (``C``, ``FY``, ``FX`` innermost, at both
      levels);
    - weight: a weight word passes over all pixels of a tile, and a tile of weights over all pixel
      tiles and samples (``OY``, ``OX``, and over memory ``N``, innermost);
    - input: an activation word meets all channel tiles before the next is read (``K`` innermost at
      both levels);
    - row-wise: a kernel row slides along a row of activations (``FX`` and ``OX`` innermost on the
      array, in either order), one row of outputs after the other.
    """

    OUTPUT_STATIONARY = "output_stationary"
    WEIGHT_STATIONARY = "weight_stationary"
    INPUT_STATIONARY = "input_stationary"
    ROW_WISE = "row_wise"

    @classmethod
    def named(cls, name: str) -> Dataflow:
        """Return the dataflow called ``name``; raises :class:`CelosiaError` with all names."""
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(dataflow.value for dataflow in cls)
            raise CelosiaError(f"unknown dataflow {name!r}: known are {known}") from None

    def why_not(self, plan: StepPlan, mapping: LayerMapping) -> str | None:
        """Return why ``mapping`` of ``plan`` is not of this dataflow; ``None`` if it is."""
        tile = plan.tile(mapping)
        array = [dimension for dimension in mapping.array if tile[dimension] > 1]
        found = _outside(array, _ARRAY_INNER[self])
        if found is not None:
            return f"on the array {found[0].value} lies inside {found[1].value}"
        if self is Dataflow.ROW_WISE:
            return None
        memory = [loop.dimension for loop, count in plan.trips(mapping) if count > 1]
        found = _outside(memory, _MEMORY_INNER[self])
        if found is not None:
            return f"over memory {found[0].value} lies inside {found[1].value}"
        return None

    def tiled(
        self, plan: StepPlan, *, rows: int, columns: int, words: int, kernel_rows: int
    ) -> LayerMapping:
        """Return the mapping of this dataflow with tiles of this size.

        A tile has the channels of one tile of columns; where their weights stay while pixels pass,
        those of whole words, so that no more outputs than one tile's are on chip at once.
        """
        together = self is Dataflow.WEIGHT_STATIONARY and len({t.runs for t in plan.tiles}) == 1
        steps = {
            Dimension.OY: rows, Dimension.OX: columns, Dimension.C: words,
            Dimension.FY: kernel_rows, Dimension.K: plan.block_tiles if together else 1,
        }  # fmt: skip
        order, array = _FORMS[self]
        whole = plan.whole
        return tiled(tuple((d, steps[d]) for d in order if steps[d] < whole[d]), array)

    def admits(self, plan: StepPlan, mapping: LayerMapping) -> bool:
        """Return whether ``mapping`` of ``plan`` is of this dataflow."""
        return self.why_not(plan, mapping) is None

    def array_orders(self) -> Iterator[tuple[Dimension, ...]]:
        """Yield all orders on the array, outermost first, that are of this dataflow."""
        for order in itertools.permutations(ARRAY_DIMENSIONS):
            if _outside(list(order), _ARRAY_INNER[self]) is None:
                yield order

    def memory_orders(self, loops: tuple[TileLoop, ...]) -> Iterator[tuple[TileLoop, ...]]:
        """Yield all orders of ``loops`` over memory, outermost first, that are of this dataflow.

        Loops of one dimension keep their order, as their steps must decrease.
        """
        inner = () if self is Dataflow.ROW_WISE else _MEMORY_INNER[self]
        for order in dict.fromkeys(itertools.permutations(loops)):
            steps = [(loop.dimension, -loop.step) for loop in order]
            kept = all(a[1] < b[1] for a, b in itertools.combinations(steps, 2) if a[0] is b[0])
            if kept and _outside([loop.dimension for loop in order], inner) is None:
                yield order

    def mappings(self, plan: StepPlan, mapping: LayerMapping) -> Iterator[LayerMapping]:
        """Yield the legal mappings of this dataflow with the tiles of ``mapping``, in any order."""
        for loops in self.memory_orders(mapping.loops):
            for array in self.array_orders():
                changed = replace(mapping, loops=loops, array=array)
                if plan.is_legal(changed):
                    yield changed


_ARRAY_INNER = {
    Dataflow.OUTPUT_STATIONARY: REDUCTION,
    Dataflow.WEIGHT_STATIONARY: (Dimension.OY, Dimension.OX),
    Dataflow.INPUT_STATIONARY: (Dimension.K,),
    Dataflow.ROW_WISE: (Dimension.FX, Dimension.OX),
}
_PIXELS_FIRST = (Dimension.OY, Dimension.OX, Dimension.K, Dimension.C, Dimension.FY)
_FORMS = {
    Dataflow.OUTPUT_STATIONARY: (_PIXELS_FIRST, OUTPUT_STATIONARY_ARRAY),
    Dataflow.WEIGHT_STATIONARY: (
        (Dimension.K, Dimension.C, Dimension.FY, Dimension.OY, Dimension.OX),
        WEIGHT_STATIONARY_ARRAY,
    ),
    Dataflow.INPUT_STATIONARY: (
        (Dimension.OY, Dimension.OX, Dimension.C, Dimension.FY, Dimension.K),
        INPUT_STATIONARY_ARRAY,
    ),
    Dataflow.ROW_WISE: (_PIXELS_FIRST, ROW_WISE_ARRAY),
}
_MEMORY_INNER = {
    Dataflow.OUTPUT_STATIONARY: REDUCTION,
    Dataflow.WEIGHT_STATIONARY: PIXELS,
    Dataflow.INPUT_STATIONARY: (Dimension.K,),
}


def _outside(
    order: list[Dimension], inner: tuple[Dimension, ...]
) -> tuple[Dimension, Dimension] | None:
    """Return a dimension that lies inside one of ``inner`` and is none, with that one."""
    for outer, dimension in itertools.pairwise(order):
        if outer in inner and dimension not in inner:
            return dimension, outer
    return None

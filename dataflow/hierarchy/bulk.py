"""The search by whole arrays: subtrees priced side by side, on a GPU where there is one.

It finds what the compiled search finds (:mod:`celosia.dataflow.hierarchy.kernels`), by the same
tables and the same bounds on subtrees: the sums of each form over its terms are products of two
matrices, splits of the first three groups by those of the fourth. Written against an array
namespace: numpy, or torch on any device; nothing here imports the latter.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from celosia.dataflow.hierarchy import kernels
from celosia.dataflow.hierarchy.options import Integers
from celosia.dataflow.hierarchy.problem import Floats
from celosia.dataflow.hierarchy.tables import Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """Where mappings are priced: an array namespace (``numpy`` or ``torch``), one of its devices.

    ``room`` is how many mappings are priced at once, about.
    """

    xp: ModuleType
    device: str = "cpu"
    room: int = 1 << 22

    def __post_init__(self) -> None:
        if self.room < 1:
            raise ValueError(f"room must be 1 or more, not {self.room!r}")

    def put(self, array: Any) -> Any:
        """Return an array on the device."""
        return self.xp.asarray(array, device=self.device)

    @staticmethod
    def back(array: Any) -> np.ndarray:
        """Return an array of the device as one of numpy."""
        return np.asarray(array.cpu() if hasattr(array, "cpu") else array)


def search_bulk(
    bulk: Bulk,
    table: Tables,
    aim: tuple[bool, float, bool],
    subtrees: Integers,
    best: Floats,
    shared: Floats,
    counters: Integers,
    budget: int,
) -> None:
    """Search the places ``subtrees`` of a table's order; arguments as :func:`kernels.search`.

    As many subtrees as there is room for are priced together, few at first: what they find
    cuts off the others.
    """
    work = _Work(bulk, table, aim)
    together = 1
    while counters[kernels.DONE] < len(subtrees) and counters[kernels.PRICED] < budget:
        first = int(counters[kernels.DONE])
        some = subtrees[first : first + together]
        left = some[table.bounds[some] <= min(shared[0], best[kernels.PRIMARY])]
        counters[kernels.DONE] += len(some)
        counters[kernels.CUT] += (len(some) - len(left)) * work.each
        if len(left):
            counters[kernels.PRICED] += len(left) * work.each
            work.price(left, best)
            shared[0] = min(shared[0], best[kernels.PRIMARY])
        together = min(2 * together, max(1, bulk.room // work.each))


class _Work:
    """A table on the device."""

    def __init__(self, bulk: Bulk, table: Tables, aim: tuple[bool, float, bool]) -> None:
        self.bulk, self.table, self.aim = bulk, table, aim
        rows, columns, _, _ = table.fourth
        factors = (*table.factors, rows[columns])
        self.factors = [bulk.put(np.ascontiguousarray(factor)) for factor in factors]
        self.width = factors[1].shape[1]
        self.thirds, self.fourths = factors[2].shape[1], factors[3].shape[1]
        self.each = self.thirds * self.fourths
        entries, weights, self.constants = table.forms
        self.terms = [entries[entries[:, 0] == form, 1] for form in range(len(self.constants))]
        self.weights = [
            bulk.put(weights[entries[:, 0] == form]) for form in range(len(self.constants))
        ]

    def price(self, subtrees: Integers, best: Floats) -> None:
        """Price all mappings of ``subtrees``; update ``best``."""
        order = self.table.order[subtrees]
        one, two, three, _ = self.factors
        pair = (
            one[:, self.bulk.put(order // self.width)] * two[:, self.bulk.put(order % self.width)]
        )
        step = max(1, self.bulk.room // (len(order) * self.fourths))
        for low in range(0, self.thirds, step):
            some = three[:, low : low + step]
            left = (pair[:, :, None] * some[:, None, :]).reshape(len(pair), -1)
            value, tie = self._values(left)
            self._keep(subtrees, value, tie, (low, some.shape[1]), best)

    def _form(self, form: int, left: Any) -> Any:
        """Return a form's values for columns ``left`` and all splits of the fourth group."""
        terms = self.bulk.put(self.terms[form])
        weighted = left[terms] * self.weights[form][:, None]
        return weighted.T @ self.factors[3][terms] + float(self.constants[form])

    def _values(self, left: Any) -> tuple[Any, Any]:
        """Return objectives, infinite where a limit is violated, and what breaks ties."""
        xp, (product, weight, ties_by_time) = self.bulk.xp, self.aim
        times = self.table.times
        linear = self._form(1, left)
        time = self._form(2, left)
        for form in range(3, 2 + times):
            time = xp.maximum(time, self._form(form, left))
        value = linear * time if product else linear + weight * time
        for form in range(2 + times, len(self.constants)):
            value = xp.where(self._form(form, left) > 0, xp.inf, value)
        return value, time if ties_by_time else self._form(0, left)

    def _keep(
        self, subtrees: Integers, value: Any, tie: Any, thirds: tuple[int, int], best: Floats
    ) -> None:
        """Replace the best by the least of ``value``, equal ones in the order of the kernels."""
        least = float(value.min())
        if least > best[kernels.PRIMARY] or least == np.inf:
            return
        ties = self.bulk.xp.where(value == least, tie, self.bulk.xp.inf)
        tied = float(ties.min())
        places = np.flatnonzero(self.bulk.back(ties == tied).reshape(-1))
        low, count = thirds
        subtree, inside = np.divmod(places, count * self.fourths)
        ranks = self.table.ranks[subtrees[subtree]]
        chosen = np.lexsort((inside, ranks))[0]
        found = (least, tied, float(ranks[chosen]))
        if found < tuple(best[: kernels.FOUND].tolist()):
            third, fourth = divmod(int(inside[chosen]), self.fourths)
            first, second = divmod(int(self.table.order[subtrees[subtree[chosen]]]), self.width)
            best[:] = (*found, first, second, low + third, fourth)

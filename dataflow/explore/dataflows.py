"""The named dataflows, as constraints on mappings, and what another mapping of a layer would cost.

Of the tilings that a name allows the one that the mapper's estimate likes best is taken; what it
costs in the end is exact.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import arrange
from celosia.dataflow.mapper import Cost, estimate
from celosia.dataflow.mapping import (
    OUTPUT_STATIONARY_ARRAY,
    WEIGHT_STATIONARY_ARRAY,
    Dimension,
    LayerMapping,
    Mapping,
    tiled,
)
from celosia.dataflow.plan import StepPlan
from celosia.models.errors import CelosiaError
from celosia.models.network import Network


class Dataflow(enum.Enum):
    """What stays in place while the rest moves."""

    WEIGHT_STATIONARY = "weight_stationary"
    """Channel tiles are outermost: each weight is loaded once, and passes over all pixels."""
    OUTPUT_STATIONARY = "output_stationary"
    """Pixel tiles are outermost, and each sum is finished before the next begins."""
    INPUT_STATIONARY = "input_stationary"
    """Each tile of inputs is loaded once, and meets all weights before the next is."""
    ROW_WISE = "row_wise"
    """Tiles are whole rows, one for each pixel lane; sums are finished first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Tile sizes: rows and columns of outputs, words of inputs, rows of the kernel."""

    rows: int
    columns: int
    words: int
    kernel_rows: int


def _weights_first(sizes: _Sizes) -> LayerMapping:
    pixels = ((Dimension.OY, sizes.rows), (Dimension.OX, sizes.columns))
    reduction = ((Dimension.C, sizes.words), (Dimension.FY, sizes.kernel_rows))
    return tiled(((Dimension.K, 1), *pixels, *reduction), WEIGHT_STATIONARY_ARRAY)


def _pixels_first(sizes: _Sizes) -> LayerMapping:
    pixels = ((Dimension.OY, sizes.rows), (Dimension.OX, sizes.columns))
    reduction = ((Dimension.C, sizes.words), (Dimension.FY, sizes.kernel_rows))
    return tiled((*pixels, (Dimension.K, 1), *reduction), OUTPUT_STATIONARY_ARRAY)


def _inputs_first(sizes: _Sizes) -> LayerMapping:
    pixels = ((Dimension.OY, sizes.rows), (Dimension.OX, sizes.columns))
    reduction = ((Dimension.C, sizes.words), (Dimension.FY, sizes.kernel_rows))
    return tiled((*pixels, *reduction, (Dimension.K, 1)), OUTPUT_STATIONARY_ARRAY)


_FORMS: dict[Dataflow, Callable[[_Sizes], LayerMapping]] = {
    Dataflow.WEIGHT_STATIONARY: _weights_first,
    Dataflow.OUTPUT_STATIONARY: _pixels_first,
    Dataflow.INPUT_STATIONARY: _inputs_first,
    Dataflow.ROW_WISE: _pixels_first,
}


def map_as(network: Network, accelerator: Accelerator, dataflow: Dataflow) -> Mapping:
    """Return the mapping of every step that ``dataflow`` allows and the estimate likes best.

    Raises
    ------
    CelosiaError
        If none fits the buffers: names the layer, the buffer and how many words are missing.
    """
    arrangement = arrange(network, accelerator)
    steps = arrangement.lowered.steps
    return Mapping(
        layers=tuple(
            (step.name, map_step_as(StepPlan(step, arrangement, accelerator), dataflow))
            for step in steps
        )
    )


def map_step_as(plan: StepPlan, dataflow: Dataflow) -> LayerMapping:
    """Return the best mapping of one step that ``dataflow`` allows; raises as :func:`map_as`."""
    best: tuple[Cost, LayerMapping] | None = None
    refused: CelosiaError | None = None
    for sizes in _sizes(plan, dataflow):
        mapping = _FORMS[dataflow](sizes)
        try:
            plan.check(mapping, f"; {dataflow.value} leaves no smaller tile")
        except CelosiaError as error:
            refused = error
            continue
        cost = estimate(plan, mapping)
        if best is None or cost < best[0]:
            best = cost, mapping
    if best is None:
        raise refused or CelosiaError(f"layer {plan.step.name!r}: nothing is {dataflow.value}")
    return best[1]


def _sizes(plan: StepPlan, dataflow: Dataflow) -> Iterator[_Sizes]:
    """Yield tile sizes, the largest first, the smallest last."""
    whole = plan.whole
    rows = _halves(whole[Dimension.OY])
    columns = _halves(whole[Dimension.OX])
    if dataflow is Dataflow.ROW_WISE:
        rows, columns = [1], [whole[Dimension.OX]]
    for sizes in itertools.product(
        rows, columns, _halves(whole[Dimension.C]), _halves(whole[Dimension.FY])
    ):
        yield _Sizes(rows=sizes[0], columns=sizes[1], words=sizes[2], kernel_rows=sizes[3])


def _halves(value: int) -> list[int]:
    """Return ``value`` and its halves, rounded up, down to 1."""
    values = [value]
    while values[-1] > 1:
        values.append(-(-values[-1] // 2))
    return values

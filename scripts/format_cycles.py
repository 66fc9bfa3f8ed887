"""Cycles of a network on the engine that all number formats share, in columns of its formats."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import DDR4
from celosia.dataflow.timing import timing
from celosia.models.assign import row_counts
from celosia.models.formats import Fixed, Format
from celosia.models.network import MAX_ACCUMULATOR_BITS, Conv, Network
from celosia.models.operations import MULTIPLY, Operation
from celosia.models.recipe import Recipe
from celosia.models.storage import fingerprint
from celosia.scripts.sources import code_digest
from celosia.sim.cache import cached

PRODUCTS = 256
"""Products a cycle of the array, the same for all but those with vectors of 32 activations.

The scales of activations are made for whole vectors, so such an array has as many columns.
"""

LANES = 16
"""Of the array, or as many as share a scale where those are more."""

SCALABLE_BITS = 8
"""Operands of precision-scalable columns: one engine for all widths up to it."""

Column = tuple[Format, Operation]
"""What a column is for."""


def column_shares(network: Network) -> dict[Column, float]:
    """Return the share of the network's own products that each kind of column computes."""
    products: dict[Column, int] = {}
    for op in network.ops:
        if isinstance(op, Conv):
            row = network.products(op) // len(op.weights)
            for fmt in op.formats:
                key = fmt, op.operation
                products[key] = products.get(key, 0) + row
    return {key: count / network.macs for key, count in products.items() if count}


def engine(recipe: Recipe, network: Network, circuit: Circuit) -> Accelerator:
    """Return the engine for ``network``: its columns are of ``circuit``.

    They are in the recipe's proportions. Precision-scalable ones are the same for all widths.
    Where layers do not multiply, they are split among the operations so that the network takes
    the fewest cycles; the first of equals.
    """
    lanes = LANES if recipe.blocks is None else max(LANES, recipe.blocks.vector)
    columns = PRODUCTS // lanes if recipe.elements is None else lanes
    kinds = list(column_shares(network))
    if circuit.scalable:
        return _accelerator(
            recipe, lanes, circuit, {(Fixed(bits=SCALABLE_BITS), MULTIPLY): columns}
        )
    if all(operation == MULTIPLY for _, operation in kinds):
        counts = [max(count, 1) for count in row_counts(recipe.weights, columns)]
        counts[int(np.argmax(counts))] -= sum(counts) - columns
        formats = ((share.format, MULTIPLY) for share in recipe.weights)
        return _accelerator(recipe, lanes, circuit, dict(zip(formats, counts, strict=True)))
    first, second = kinds
    splits = (
        _accelerator(recipe, lanes, circuit, {first: count, second: columns - count})
        for count in range(2, columns, 2)
    )
    return min(splits, key=lambda split: cycles(network, split))


def _accelerator(
    recipe: Recipe, lanes: int, circuit: Circuit, counts: dict[Column, int]
) -> Accelerator:
    groups = tuple(
        ColumnGroup(format=fmt, count=count, circuit=circuit, operation=operation)
        for (fmt, operation), count in counts.items()
    )
    return Accelerator(
        name="formats",
        array=ArrayShape(
            columns=groups,
            lanes=lanes,
            pixels=1,
            accumulator_bits=32 if recipe.blocks is None else MAX_ACCUMULATOR_BITS,
            scaling=recipe.blocks,
            elements=recipe.elements,
        ),
        buffers=Buffers(
            activations=4096,
            weights=1024,
            accumulators=1024,
            constants=128,
            residuals=4096,
            outputs=4096,
        ),
        bus=Bus(data_bits=128, burst_beats=64, outstanding=8),
        post_lanes=8 if recipe.elements is None else lanes,
    )


def cycles(network: Network, accelerator: Accelerator) -> int:
    """Return the cycles of one sample, from what was kept if they were counted before."""
    made_from = repr((code_digest(__name__), fingerprint(network), accelerator))

    def build(folder: Path) -> None:
        program = compile_network(network, accelerator)
        (folder / "cycles.json").write_text(json.dumps(timing(program, DDR4).cycles))

    key = f"formats-cycles-{hashlib.sha256(made_from.encode()).hexdigest()[:40]}"
    return int(json.loads((cached(key, build) / "cycles.json").read_text()))

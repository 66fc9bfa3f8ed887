"""What the writers of other tools' files share: the nest as iterations of loops."""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.hierarchy.layer import Dim, Layer
from celosia.dataflow.hierarchy.mapping import Mapping, Store
from celosia.models.errors import CelosiaError

WORD_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Iterations:
    """A loop with its number of iterations and the tile of each."""

    dim: Dim
    count: int
    tile: int
    axis: str | None


def iterations(layer: Layer, mapping: Mapping, tool: str) -> list[Iterations | Store]:
    """Return the steps with each loop's number of iterations.

    Raises :class:`CelosiaError` where a tile does not divide the one around it: ``tool`` has no
    masked tiles.
    """
    tiles = {dim: layer.size(dim) for dim in Dim}
    steps: list[Iterations | Store] = []
    for step in mapping.steps:
        if isinstance(step, Store):
            steps.append(step)
            continue
        before, tiles[step.dim] = tiles[step.dim], step.tile
        if before % step.tile:
            raise CelosiaError(
                f"{tool} wants tiles that divide: {step.dim.value} has tiles of {step.tile} in "
                f"{before}. Search with --factors perfect"
            )
        count = before // step.tile
        steps.append(Iterations(dim=step.dim, count=count, tile=step.tile, axis=step.axis))
    return steps

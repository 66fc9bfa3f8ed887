"""Which layers and tensors get scales of vectors, and in words why others do not."""

from __future__ import annotations

import numpy as np

from celosia.models.errors import CelosiaError
from celosia.models.formats import VECTORS, BlockScaling
from celosia.models.graph import FloatConv, FloatGraph
from celosia.models.network import Concat, MaxPool
from celosia.models.recipe import Recipe


def check_vectors(graph: FloatGraph, recipe: Recipe) -> None:
    """Refuse layers whose channels the vectors of ``recipe.blocks`` do not divide.

    Fewer channels than a vector are one short vector, or, in groups, a scale a row.
    ``recipe.uneven_vectors`` allows all others as well.

    Raises
    ------
    CelosiaError
        Naming the layer, its channels, and the vectors that would fit.
    """
    if recipe.blocks is None or recipe.uneven_vectors:
        return
    channels = {
        op.name: op.weight.shape[1]
        for op in graph.ops
        if isinstance(op, FloatConv) and _multiplies(op)
    }
    for name, count in channels.items():
        if not _fits(count, recipe.blocks.vector):
            raise CelosiaError(
                f"layer {name!r}: vectors of {recipe.blocks.vector} do not divide its {count} "
                f"input channels: {_fitting(set(channels.values()))}; or allow a short last "
                "vector (--uneven-vectors)"
            )


def weight_obstacle(graph: FloatGraph, op: FloatConv, scaling: BlockScaling) -> str:
    """Return why the weights of ``op`` cannot have scales of vectors; empty where they can."""
    channels = op.weight.shape[1]
    if not _multiplies(op):
        return "no products of trained weights"
    if op.groups > 1 and channels % scaling.vector:
        return f"groups of {channels} channels are no whole vectors of {scaling.vector}"
    writer = graph.writers().get(op.input)
    members = writer.inputs[:-1] if isinstance(writer, Concat) else ()
    return _broken(graph, members, scaling.vector)


def activation_obstacle(graph: FloatGraph, names: list[str], signed: bool, vector: int) -> str:
    """Return why the tensors ``names``, which share a grid, cannot have scales of vectors.

    Not inputs and outputs; not what is clipped but at 0, as scales reach as far as values do;
    not what is looked up in a table; not what distances are taken of, which have no products for
    scales to multiply; not concats of broken vectors, nor what the compiler would have to copy.
    Empty where they can.
    """
    writers, readers = graph.writers(), graph.readers()
    for name in names:
        writer = writers.get(name)
        if writer is None or name in graph.outputs:
            return "inputs and outputs of the network"
        if isinstance(writer, FloatConv) and (
            writer.high < np.inf or writer.low not in (0, -np.inf)
        ):
            return f"{name!r} is clipped at a number other than 0"
        if isinstance(writer, FloatConv) and writer.function is not None:
            return f"{name!r} is looked up in a table"
        if any(isinstance(op, FloatConv) and op.distance for op in readers[name]):
            return f"a layer of distances reads {name!r}"
        if isinstance(writer, Concat):
            if broken := _broken(graph, writer.inputs[:-1], vector):
                return broken
            if any(isinstance(op, FloatConv) and op.residual == name for op in readers[name]):
                return f"{name!r} is a concat and a residual operand, which is copied"
        padded = any(isinstance(op, MaxPool) and any(op.window.padding) for op in readers[name])
        if signed and padded and len(readers[name]) > 1:
            return f"{name!r} is read by a padded max-pooling and others, for which it is copied"
    return ""


def _multiplies(op: FloatConv) -> bool:
    """Whether ``op`` is the network's own layer with weights of the recipe's formats."""
    return op.useful and not op.distance and op.power is None


def _broken(graph: FloatGraph, members: tuple[str, ...], vector: int) -> str:
    """Say which of the ``members`` of a concat, the last left out, is no whole vectors."""
    shapes = graph.shapes()
    for name in members:
        if shapes[name][0] % vector:
            return (
                f"the {shapes[name][0]} channels of {name!r}, a member of a concat, are no whole "
                f"vectors of {vector}"
            )
    return ""


def _fits(channels: int, vector: int) -> bool:
    return channels <= vector or channels % vector == 0


def _fitting(counts: set[int]) -> str:
    """Say which vectors fit all of ``counts``."""
    most = max(counts)
    fitting = [str(n) for n in VECTORS if n < most and all(_fits(count, n) for count in counts)]
    if most <= VECTORS[-1]:
        fitting.append(f"{max(most, VECTORS[0])} or more")
    if not fitting:
        return f"no vector of {VECTORS[0]} to {VECTORS[-1]} fits every layer"
    return f"vectors of {', '.join(fitting)} fit every layer of this network"

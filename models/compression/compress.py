"""Deep Compression of a network: pruned, shared, retrained, in integers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from celosia.models.calibrate import calibrate
from celosia.models.compression.export import find_steps, integer_network
from celosia.models.compression.lower import Lowered, layers_of, lower, vectors, weights_of
from celosia.models.compression.permute import balanced_order
from celosia.models.compression.prune import (
    balanced_mask,
    check_balanced,
    check_mask,
    magnitude_mask,
)
from celosia.models.compression.recipe import Compression, Retraining
from celosia.models.compression.share import cluster
from celosia.models.compression.student import Student
from celosia.models.errors import CelosiaError
from celosia.models.graph import FloatGraph, evaluate_float
from celosia.models.network import Network
from celosia.models.quantize import check_calibration
from celosia.models.recipe import Recipe
from celosia.models.sparse import SparseLinear, SparseMatrix
from celosia.models.threads import single_thread
from celosia.models.training import Goal, train

CALIBRATED = 512
"""Most samples that scales are found on, and that networks are compared on."""


def compress(
    graph: FloatGraph,
    calibration: np.ndarray | Mapping[str, np.ndarray],
    recipe: Compression,
    retraining: Retraining,
    *,
    labels: np.ndarray | None = None,
    head: int = 0,
    masks: Mapping[str, np.ndarray] | None = None,
) -> Network:
    """Compress ``graph``, of fully connected layers alone.

    Densities are of the weights that it has, before rows with a slope become two. It is pruned in
    stages and retrained with masks held; then weights share values, which are
    fine-tuned on activations and weights as they will be in integers. The teacher is the float
    graph itself.

    Parameters
    ----------
    graph
        The fused float graph; it is not changed.
    calibration
        Training inputs, float (N, C, H, W); for several inputs by name.
    recipe, retraining
        What to do, and how long.
    labels, head
        Classes of the samples, int64 (N,), if known, and of which output they are the classes.
    masks
        From outside, by layer: which weights are kept, 0 or 1, of the weights' shape. These layers
        are pruned no further.

    Returns
    -------
    The network: inputs are vectors (C * H * W, 1, 1), layers
    :class:`~celosia.models.sparse.SparseLinear`.

    Raises
    ------
    CelosiaError
        If an operation is no fully connected layer, or data, labels, masks or names of layers do
        not fit.
    """
    inputs = check_calibration(graph, calibration)
    lowered = _ordered(lower(graph), recipe, masks or {})
    tensors = {name: torch.from_numpy(data) for name, data in vectors(inputs).items()}
    goal = Goal.of(lowered.graph, tensors, labels, head)
    given = _checked_masks(lowered, recipe, masks or {})
    student = Student(lowered.graph)

    def learn(rate: float = retraining.learning_rate) -> None:
        if retraining.epochs:
            train(
                student,
                tensors,
                goal,
                epochs=retraining.epochs,
                batch=retraining.batch,
                learning_rate=rate,
                seed=recipe.seed,
            )

    with single_thread():
        stages = len(retraining.densities(1.0))
        for stage in range(stages):
            for name in student.weights:
                target = retraining.densities(_density(lowered, recipe, name))[stage]
                student.prune(name, _mask(student.kept(name), recipe, given.get(name), target))
            learn()
        for name in student.weights if recipe.clusters is not None else ():
            kept = student.kept(name)
            values = kept[student.masks[name].numpy()]
            student.share(name, cluster(values, _centroids(recipe), recipe.start, recipe.seed))
        shifts = _to_integers(student, tensors, recipe)
        few = {name: data[:CALIBRATED] for name, data in vectors(inputs).items()}
        start = integer_network(student.graph(), student.grids, recipe, shifts)
        if not retraining.epochs:
            return start
        learn(retraining.learning_rate / 3)
        trained = integer_network(student.graph(), student.grids, recipe, shifts)
        # Shifts are those of before: what was learnt may have outgrown the accumulators.
        if not _fits(trained, recipe):
            return start
        return min((trained, start), key=lambda network: goal.judge(network, few))


def _fits(network: Network, recipe: Compression) -> bool:
    """Return whether no sum of ``network`` exceeds the recipe's accumulators."""
    return all(
        op.accumulator_bits(network.tensor(op.input).format) <= recipe.accumulator_bits
        for op in network.ops
        if isinstance(op, SparseLinear)
    )


def _ordered(lowered: Lowered, recipe: Compression, masks: Mapping[str, np.ndarray]) -> Lowered:
    """Return ``lowered`` with rows in places that suit the recipe's balance, where it wants that.

    Rows are judged by the weights that pruning by magnitude would leave.
    """
    if recipe.balance is None or not recipe.balance.permute:
        return lowered
    layers = layers_of(lowered.graph)
    fixed = {*lowered.graph.outputs}
    fixed |= {name for op in layers if op.name in masks for name in (op.input, op.output)}
    orders = {}
    for op in layers:
        if op.output not in fixed:
            mask = magnitude_mask(weights_of(op), _density(lowered, recipe, op.name))
            matrix = SparseMatrix.from_dense(mask.astype(np.int64))
            orders[op.output] = balanced_order(matrix, recipe.balance.pes)
    return lowered.reordered(orders)


def _density(lowered: Lowered, recipe: Compression, layer: str) -> float:
    """Return the share of a lowered layer's weights that is to stay.

    As many stay with slopes as without, but of a density of 1, which prunes nothing.
    """
    wanted = recipe.density_of(layer)
    return wanted / lowered.growth(layer) if wanted < 1 else 1.0


def _centroids(recipe: Compression) -> int:
    """Return the values of a codebook but the 0."""
    return (recipe.clusters or 1) - 1


def _mask(
    weights: np.ndarray, recipe: Compression, given: np.ndarray | None, density: float
) -> np.ndarray:
    if given is not None:
        return given
    if recipe.balance is not None:
        return balanced_mask(weights, density, recipe.balance)
    return magnitude_mask(weights, density)


def _to_integers(
    student: Student, tensors: Mapping[str, torch.Tensor], recipe: Compression
) -> dict[str, int]:
    """Let the student round as integers do from now on; return the shift of each layer."""
    graph = student.graph()
    few = {name: data[:CALIBRATED] for name, data in tensors.items()}
    with torch.no_grad():
        values = evaluate_float(graph, few)
    grids = calibrate(graph, values, Recipe(activation_bits=recipe.activation_bits))
    found = find_steps(graph, grids, recipe)
    student.grids = grids
    student.steps = {name: step for name, (_, step) in found.items()}
    return {name: shift for name, (shift, _) in found.items()}


def _checked_masks(
    lowered: Lowered, recipe: Compression, masks: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return masks from outside as those of lowered layers, bool (O, I)."""
    for what, names in (("a mask", masks), ("a density", recipe.densities)):
        for name in names:
            if name not in lowered.rows:
                raise CelosiaError(
                    f"there is {what} for a layer {name!r}, the model has "
                    f"{', '.join(map(repr, lowered.rows))}"
                )
    found = {}
    for name, mask in masks.items():
        if name in recipe.densities:
            raise CelosiaError(f"layer {name!r} has a mask and a density: leave one of them out")
        whole = check_mask(name, np.asarray(mask), lowered.shape(name))
        found[name] = whole[np.ix_(lowered.rows[name], lowered.columns[name])]
        if recipe.balance is not None:
            check_balanced(name, found[name], recipe.balance)
    return found

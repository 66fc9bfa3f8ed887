"""How curved a loss is in each row of weights: the largest eigenvalues of its Hessian.

RMSMP (ICCV 2021) gives the rows in which the loss is most curved the formats of
the most bits. The Hessian of one row is never written out: its product with a vector is the
gradient of the gradient's product with that vector (Pearlmutter, 1994).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from celosia.models.graph import FloatConv, FloatGraph, evaluate_float
from celosia.models.threads import single_thread

SAMPLES = 16
"""Most calibration samples that are looked at."""

TOLERANCE = 1e-4
"""Relative change of a row's eigenvalue at which its iteration stops."""

CHUNK = 1 << 22
"""Most numbers in the vectors that are multiplied by the Hessian at once."""

Loss = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]


def row_curvatures(
    graph: FloatGraph,
    inputs: Mapping[str, torch.Tensor],
    loss: Loss | None = None,
    *,
    iterations: int = 20,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return the largest eigenvalue of each row's Hessian, by power iteration.

    Parameters
    ----------
    graph
        The float graph.
    inputs
        Calibration inputs by name, (N, C, H, W); the first ``SAMPLES`` are used.
    loss
        From the graph's tensors by name to a number. By default the mean squared distance of
        the outputs, in units of their variance, from what the graph gives now: no labels
        are needed, and no eigenvalue is negative.
    iterations
        Most steps of the power iteration.
    seed
        Of the vectors that it begins with. The same seed gives the same result.

    Returns
    -------
    For each useful convolution's name float64 (O,).
    """
    few = {name: data[:SAMPLES].to(torch.float64) for name, data in inputs.items()}
    weights = {
        op.name: torch.from_numpy(op.weight).to(torch.float64).requires_grad_(True)
        for op in graph.ops
        if isinstance(op, FloatConv) and op.useful
    }
    if not weights:
        return {}
    with single_thread():
        chosen = _distance(graph, few) if loss is None else loss
        value = chosen(evaluate_float(graph, few, weights))
        gradients = torch.autograd.grad(value, list(weights.values()), create_graph=True)
        generator = torch.Generator().manual_seed(seed)
        return {
            name: _eigenvalues(gradient, weight, iterations, generator)
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }


def _distance(graph: FloatGraph, inputs: Mapping[str, torch.Tensor]) -> Loss:
    """Return the loss that is 0 where the outputs are what they are now."""
    with torch.no_grad():
        values = evaluate_float(graph, inputs)
    spread = {name: values[name].var(correction=0) + 1e-12 for name in graph.outputs}

    def loss(given: Mapping[str, torch.Tensor]) -> torch.Tensor:
        parts = [
            ((given[name] - values[name]) ** 2).mean() / spread[name] for name in graph.outputs
        ]
        return torch.stack(parts).sum()

    return loss


def _eigenvalues(
    gradient: torch.Tensor, weight: torch.Tensor, iterations: int, generator: torch.Generator
) -> np.ndarray:
    """Return the eigenvalue of each row of ``weight`` that is largest in magnitude, (O,)."""
    vectors = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    found = torch.full((len(weight),), torch.inf, dtype=weight.dtype)
    moving = torch.arange(len(weight))
    for _ in range(iterations):
        begin = vectors[moving] / _length(vectors[moving])
        moved = _times_hessian(gradient, weight, begin, moving)
        new = (begin * moved).flatten(1).sum(dim=1)
        still = (new - found[moving]).abs() <= TOLERANCE * new.abs()
        found[moving], vectors[moving] = new, moved
        moving = moving[~still]
        if not len(moving):
            break
    result: np.ndarray = found.numpy()
    return result


def _length(vectors: torch.Tensor) -> torch.Tensor:
    """Return the length of each row of ``vectors``, 1 for rows of zeros."""
    length = vectors.flatten(1).norm(dim=1)
    safe = torch.where(length > 0, length, 1.0)
    return safe.reshape(-1, *(1,) * (vectors.ndim - 1))


def _times_hessian(
    gradient: torch.Tensor, weight: torch.Tensor, vectors: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    """Return the vector of each of ``rows`` times the Hessian of that row alone."""
    step = max(1, CHUNK // weight.numel())
    parts = []
    for begin in range(0, len(rows), step):
        some = rows[begin : begin + step]
        place = torch.arange(len(some))
        spread = torch.zeros((len(some), *weight.shape), dtype=weight.dtype)
        spread[place, some] = vectors[begin : begin + step]
        (moved,) = torch.autograd.grad(
            gradient, weight, spread, retain_graph=True, is_grads_batched=True
        )
        parts.append(moved[place, some].detach())
    return torch.cat(parts)

"""Eigenvalues of the rows' Hessians: against closed forms, deterministic."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.curvature import row_curvatures
from celosia.models.graph import FloatGraph
from celosia.models.importer import export_model, import_program

SAMPLES = 16


def graph_of(module: nn.Module, channels: int, size: int) -> FloatGraph:
    return import_program(export_model(module, (torch.zeros(1, channels, size, size),)))


def data(channels: int, size: int) -> np.ndarray:
    random = np.random.default_rng(20261121)
    spread = np.arange(1, channels + 1)[:, None, None]
    return random.normal(size=(SAMPLES, channels, size, size)) * spread


def test_two_rows_of_a_quadratic_model() -> None:
    """Of ``sum_r c_r mean((w_r x - t)**2)`` the Hessian of row r is ``2 c_r E[x x']``."""
    graph = graph_of(nn.Conv2d(5, 2, 1), 5, 1)
    x = data(5, 1)
    weight = (0.5, 3.0)

    def loss(values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        squares = ((values[graph.outputs[0]] - 1) ** 2).mean(dim=(0, 2, 3))
        return (squares * torch.tensor(weight, dtype=torch.float64)).sum()

    inputs = {name: torch.from_numpy(x) for name in graph.inputs}
    (found,) = row_curvatures(graph, inputs, loss, iterations=100).values()
    flat = x.reshape(SAMPLES, 5)
    top = np.linalg.eigvalsh(flat.T @ flat / SAMPLES)[-1]
    assert found == pytest.approx(2 * np.array(weight) * top, rel=1e-3)


def test_deep_rows_against_the_whole_hessian() -> None:
    torch.manual_seed(20261121)
    module = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 2, 2))
    graph = graph_of(module, 2, 4)
    inputs = {name: torch.from_numpy(data(2, 4)) for name in graph.inputs}
    found = row_curvatures(graph, inputs, iterations=200)
    first = module[0].double()
    module.double()
    (x,) = inputs.values()
    wanted = module(x).detach()

    def loss(row: torch.Tensor, index: int) -> torch.Tensor:
        weight = torch.cat([first.weight[:index], row[None], first.weight[index + 1 :]])
        hidden = torch.relu(nn.functional.conv2d(x, weight, first.bias))
        return ((module[2](hidden) - wanted) ** 2).mean() / wanted.var(correction=0)

    for index in range(3):
        row = first.weight[index].detach()
        whole = torch.autograd.functional.hessian(lambda r, i=index: loss(r, i), row)
        top = float(torch.linalg.eigvalsh(whole.reshape(row.numel(), row.numel()))[-1])
        assert found["0"][index] == pytest.approx(top, rel=1e-3)


def test_the_seed_decides() -> None:
    graph = graph_of(nn.Conv2d(3, 4, 3, padding=1), 3, 4)
    inputs = {name: torch.from_numpy(data(3, 4)) for name in graph.inputs}
    runs = [row_curvatures(graph, inputs, iterations=3, seed=seed) for seed in (0, 0, 1)]
    (first,), (second,), (third,) = (list(run.values()) for run in runs)
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()


def test_rows_that_do_not_matter() -> None:
    conv = nn.Conv2d(2, 3, 1)
    with torch.no_grad():
        conv.weight[1] = 0
        conv.bias[1] = -1  # behind the ReLU nothing is left
    graph = graph_of(nn.Sequential(conv, nn.ReLU()), 2, 3)
    inputs = {name: torch.from_numpy(data(2, 3)) for name in graph.inputs}
    (found,) = row_curvatures(graph, inputs).values()
    assert found[1] == 0
    assert (found[[0, 2]] > 0).all()


def test_a_graph_without_weights() -> None:
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x)

    graph = graph_of(Sum(), 2, 3)
    inputs = {name: torch.from_numpy(data(2, 3)) for name in graph.inputs}
    assert row_curvatures(graph, inputs) == {}

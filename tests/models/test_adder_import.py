"""Adder and shift layers from torch modules, through a file, to integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.addernet import AdderConv2d, ShiftConv2d, ShiftMode
from celosia.models.addernet_zoo import adder_workload, shift_add_workload
from celosia.models.blueprint import DIGITS
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed, Pot
from celosia.models.golden import evaluate
from celosia.models.gradients import Gradient
from celosia.models.graph import FloatConv, FloatGraph, evaluate_float
from celosia.models.importer import export_model, import_program, load_model, save_model
from celosia.models.inputs import dequantise, quantise_inputs
from celosia.models.network import Conv, Network, Window
from celosia.models.operations import DISTANCE, MULTIPLY
from celosia.models.qat import Schedule, finetune
from celosia.models.quantize import quantize
from celosia.models.recipe import Assignment, Recipe, msq, parse_mix
from celosia.models.student import Student
from celosia.models.zoo import Workload, digit_data, digits

RECIPE = Recipe(weights=msq(8, 0.0))


class Block(nn.Module):
    """A block of ShiftAddNet's ResNet-20: shift and add twice, their input added."""

    def __init__(self, channels: int) -> None:
        super().__init__()

        def half() -> nn.Sequential:
            return nn.Sequential(
                ShiftConv2d(channels, channels, 3, padding=1),
                AdderConv2d(channels, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
            )

        self.stem = nn.Sequential(nn.Conv2d(3, channels, 1), nn.ReLU())
        self.first, self.second = half(), half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return torch.relu(self.second(torch.relu(self.first(x))) + x)


def block() -> tuple[Block, torch.Tensor]:
    """A block whose normalisations know its data; some of their weights are negative."""
    torch.manual_seed(7)
    model, x = Block(6), torch.rand(8, 3, 6, 6)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        elif isinstance(module, AdderConv2d):
            nn.init.normal_(module.weight, std=0.3)
    with torch.no_grad():
        for _ in range(60):
            model(x)
    return model.eval(), x


def imported(model: nn.Module, x: torch.Tensor, path: Path) -> FloatGraph:
    save_model(model, (x[:1],), path)
    return import_program(load_model(path))


Through = tuple[Block, FloatGraph, torch.Tensor]


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Through:
    model, x = block()
    return model, imported(model, x, tmp_path_factory.mktemp("block") / "block.pt2"), x


@pytest.fixture(scope="module")
def network(through: Through) -> Network:
    return quantize(through[1], through[2].numpy(), RECIPE)


def test_blocks_come_through_a_file(through: Through) -> None:
    model, graph, x = through
    convs = [op for op in graph.ops if isinstance(op, FloatConv)]
    assert [op.distance for op in convs] == [False, False, True, False, True]
    assert [op.power for op in convs] == [None, Pot(bits=5), None, Pot(bits=5), None]
    # Batch normalisation, ReLU and addition are part of the adder layers.
    assert convs[-1].residual is not None
    assert convs[-1].low == 0
    assert min(op.gain.min() for op in convs if op.gain is not None) < 0
    with torch.no_grad():
        found = evaluate_float(graph, {"x": x})[graph.outputs[0]]
        torch.testing.assert_close(found, model(x), atol=1e-3, rtol=1e-3)


def test_blocks_become_integers(through: Through, network: Network) -> None:
    _, graph, x = through
    convs = [op for op in network.ops if isinstance(op, Conv)]
    assert [op.operation for op in convs] == [MULTIPLY, MULTIPLY, DISTANCE, MULTIPLY, DISTANCE]
    assert [op.formats[0] for op in convs[1:3]] == [Pot(bits=5), Fixed(bits=8)]
    # Outputs of distances keep the sign of their batch normalisation's weight.
    assert min(op.requant.positive.min() for op in convs if op.operation == DISTANCE) < 0
    name = graph.outputs[0]
    codes = evaluate(network, quantise_inputs(network, x.numpy()))[name]
    wanted = evaluate_float(graph, {"x": x})[name].detach().numpy()
    apart = dequantise(network, name, codes) - wanted
    assert np.sqrt((apart**2).mean()) < 0.1 * wanted.std()


def test_weights_of_distances_have_the_step_of_their_input(
    through: Through, network: Network
) -> None:
    for op, real in zip(network.ops, through[1].ops, strict=True):
        if isinstance(op, Conv) and isinstance(real, FloatConv) and real.distance:
            step = network.tensor(op.input).scale
            np.testing.assert_array_equal(op.weights, np.rint(real.weight / step))
            assert np.abs(op.weights).max() <= 127


def test_powers_of_two_stay_what_they_are(through: Through, network: Network) -> None:
    layer = through[0].first[0]
    assert isinstance(layer, ShiftConv2d)
    own, found = layer.values().numpy(), network.ops[1].weights  # type: ignore[union-attr]
    scale = np.abs(own).max(axis=(1, 2, 3)) / np.abs(found).max(axis=(1, 2, 3))
    np.testing.assert_array_equal(found * scale[:, None, None, None], own)


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_a_negative_gain_turns_a_slope_round(slope: float) -> None:
    """Where the multiplier is negative, a sum below 0 stands for a value above 0."""
    rng = np.random.default_rng(2)
    op = FloatConv(
        name="op", input="x", output="y", window=Window(kernel=(1, 1)), groups=1,
        weight=rng.normal(size=(2, 3, 1, 1)), bias=np.array([3.0, -3.0]),
        slope=np.full(2, slope), distance=True, gain=np.array([1.0, -1.0]),
    )  # fmt: skip
    graph = FloatGraph(name="net", inputs={"x": (3, 8, 8)}, outputs=("y",), ops=(op,))
    x = rng.normal(size=(4, 3, 8, 8)).astype(np.float32)
    network = quantize(graph, x, RECIPE)
    codes = evaluate(network, quantise_inputs(network, x))["y"]
    wanted = evaluate_float(graph, {"x": torch.from_numpy(x)})["y"].numpy()
    apart = dequantise(network, "y", codes) - wanted
    assert np.sqrt((apart**2).mean()) < 0.1 * wanted.std()


def test_exported_layers_equal_the_modules() -> None:
    model = nn.Sequential(AdderConv2d(3, 4, 3, 2, 1), ShiftConv2d(4, 4, 3, 2, 1, mode=ShiftMode.PS))
    x = torch.rand(2, 3, 7, 6)
    torch.testing.assert_close(export_model(model, (x,)).module()(x), model(x))


def test_student_computes_what_the_integers_do(through: Through) -> None:
    """On the first grids each layer's values are those of the quantised network.

    The requantisation's multipliers and biases are rounded: some values fall on the next level.
    """
    _, graph, x = through
    recipe = replace(RECIPE, error_feedback=False)
    network = quantize(graph, x.numpy(), recipe)
    gradients = Gradient.STRAIGHT_THROUGH, Gradient.PIECEWISE_LINEAR
    student = Student(graph, network, recipe, *gradients)
    codes = evaluate(network, quantise_inputs(network, x.numpy()))
    values = {
        tensor.name: torch.from_numpy(dequantise(network, tensor.name, codes[tensor.name])).float()
        for tensor in network.tensors
    }
    for op in graph.ops:
        assert isinstance(op, FloatConv)
        with torch.no_grad():
            found = student.settle(op.output, student.convolve(op, student.rounded(op), values))
        step = network.tensor(op.output).scale
        off = (found - values[op.output]).abs() / step
        assert off.max() < 1.01, op.name
        assert (off > 0.01).float().mean() < 0.1, op.name


def test_adder_and_shift_layers_are_fine_tuned(through: Through) -> None:
    """What the outputs are off from the float graph's shrinks on the data that is learnt."""
    _, graph, x = through
    recipe = Recipe(weights=msq(8, 0.0), activation_bits=4, error_feedback=False)
    data = x.numpy()
    wanted = evaluate_float(graph, dict.fromkeys(graph.inputs, x))[graph.outputs[0]].numpy()

    def error(network: Network) -> float:
        codes = evaluate(network, quantise_inputs(network, data))
        name = network.outputs[0]
        return float(((dequantise(network, name, codes[name]) - wanted) ** 2).mean())

    tuned = finetune(graph, data, recipe, Schedule(epochs=12, batch=4, learning_rate=3e-3))
    assert error(tuned) < 0.6 * error(quantize(graph, data, recipe))
    for before, op in zip(graph.ops, tuned.ops, strict=True):
        if isinstance(before, FloatConv) and isinstance(op, Conv) and before.power is not None:
            assert set(op.formats) == {before.power}


def test_curvature_wrong(through: Through) -> None:
    _, graph, x = through
    mix = parse_mix("fixed4:50,fixed8:50")
    recipe = Recipe(weights=mix, assignment=Assignment.HESSIAN)
    with pytest.raises(CelosiaError, match="is an adder layer, whose curvature is not defined"):
        quantize(graph, x.numpy(), recipe)


def test_gain_without_distances_wrong() -> None:
    with pytest.raises(ValueError, match="conv 'op': gain is a matter of weights, so must be None"):
        FloatConv(
            name="op", input="x", output="y", window=Window(kernel=(1, 1)), groups=1,
            weight=np.ones((1, 1, 1, 1)), bias=np.zeros(1), gain=np.ones(1),
        )  # fmt: skip


def integer_accuracy(work: Workload) -> float:
    graph = import_program(export_model(work.model, (work.example,)))
    network = quantize(graph, work.calibration, RECIPE)
    values = evaluate(network, quantise_inputs(network, work.inputs))
    return work.accuracy([values[name] for name in network.outputs])


@pytest.mark.campaign
def test_accuracy_beside_the_multiplier_network() -> None:
    """Gates of AdderNet (2 points) and ShiftAddNet (3 points), 8-bit integers, digits."""
    multiplier = integer_accuracy(digits())
    assert integer_accuracy(adder_workload(digit_data(), DIGITS)) >= multiplier - 0.02
    assert integer_accuracy(shift_add_workload(digit_data(), DIGITS)) >= multiplier - 0.03

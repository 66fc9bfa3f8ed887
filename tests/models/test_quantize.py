"""Quantised networks: exact where they can be, near the float graph everywhere else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.calibrate import Grid
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed, Sp2
from celosia.models.golden import evaluate
from celosia.models.graph import FloatGraph, evaluate_float
from celosia.models.importer import export_model, import_program
from celosia.models.network import Conv, Network, Rounding
from celosia.models.quantize import (
    Assignment,
    Recipe,
    dequantise,
    quantise_input,
    quantise_inputs,
    quantize,
    weight_scale,
)
from celosia.models.round_weights import assign_formats, round_rows


class Mixed(nn.Module):
    """Everything that has a rule of its own in the quantiser."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 6, 3, stride=2, padding=1), nn.ReLU6())
        self.deep = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.PReLU(6))
        self.wide = nn.Conv2d(6, 6, 1)
        self.pool, self.average = nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(2)
        self.last = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(x)
        y = torch.relu(self.wide(self.deep(x)) + x)
        z = self.average(self.pool(torch.cat([y, nn.functional.leaky_relu(y, 0.1)], 1)))
        return self.last(z.flatten(1)), z


def graph_of(module: nn.Module, *shape: int, seed: int = 0) -> FloatGraph:
    torch.manual_seed(seed)
    module = module.eval()
    return import_program(export_model(module, (torch.randn(1, *shape),)))


@pytest.fixture(scope="module")
def mixed() -> tuple[FloatGraph, np.ndarray]:
    torch.manual_seed(1)
    graph = graph_of(Mixed(), 2, 8, 8)
    data = np.random.default_rng(0).normal(size=(64, 2, 8, 8)).astype(np.float32)
    return graph, data


def error(graph: FloatGraph, network: Network, data: np.ndarray) -> dict[str, float]:
    """Relative squared error of every output."""
    wanted = evaluate_float(graph, {next(iter(graph.inputs)): torch.from_numpy(data)})
    codes = evaluate(network, quantise_inputs(network, data))
    result = {}
    for name in network.outputs:
        target = wanted[name].numpy()
        gap = dequantise(network, name, codes[name]) - target
        result[name] = float((gap**2).mean() / target.var())
    return result


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "ratio", "limit"),
    [(8, 8, 0.0, 2e-3), (8, 8, 1.0, 2e-2), (4, 8, 0.6, 4e-2), (4, 4, 0.6, 0.1)],
)
def test_outputs_stay_near(
    mixed: tuple[FloatGraph, np.ndarray],
    weight_bits: int,
    activation_bits: int,
    ratio: float,
    limit: float,
    rounding: Rounding,
) -> None:
    graph, data = mixed
    recipe = Recipe(
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        sp2_ratio=ratio,
        rounding=rounding,
    )
    network = quantize(graph, data, recipe)
    assert max(error(graph, network, data).values()) < limit
    fresh = np.random.default_rng(9).normal(size=(32, 2, 8, 8)).astype(np.float32)
    assert max(error(graph, network, fresh).values()) < 2 * limit


def test_error_feedback_helps(mixed: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = mixed
    recipe = Recipe(weight_bits=4, activation_bits=8)
    fitted = quantize(graph, data, recipe)
    plain = quantize(graph, data, replace(recipe, error_feedback=False))
    assert sum(error(graph, fitted, data).values()) < sum(error(graph, plain, data).values())


def test_formats_follow_the_recipe(mixed: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = mixed
    recipe = Recipe(weight_bits=4, activation_bits=4, sp2_ratio=0.5, first_last_8bit=True)
    network = quantize(graph, data, recipe)
    convs = {op.name: op for op in network.ops if isinstance(op, Conv)}
    assert convs["stem.0"].formats == (Fixed(bits=8),) * 6
    assert convs["last"].formats == (Fixed(bits=8),) * 3
    assert convs["wide"].formats.count(Sp2(bits=4)) == 3
    assert convs["wide"].formats.count(Fixed(bits=4)) == 3
    assert network.tensor(network.inputs[0]).format == Fixed(bits=8)
    assert network.tensor(network.outputs[0]).format == Fixed(bits=8)
    assert network.tensor(convs["stem.0"].output).format == Fixed(bits=4, signed=False)
    recipe = replace(recipe, first_last_8bit=False, output_bits=6)
    network = quantize(graph, data, recipe)
    assert network.tensor(network.inputs[0]).format == Fixed(bits=4)
    assert network.tensor(network.outputs[0]).format == Fixed(bits=6)


def test_quantising_is_deterministic(mixed: tuple[FloatGraph, np.ndarray]) -> None:
    from celosia.models.storage import fingerprint

    graph, data = mixed
    assert len({fingerprint(quantize(graph, data, Recipe())) for _ in range(2)}) == 1


def worst(module: nn.Module, data: np.ndarray) -> float:
    """Return the largest error of the quantised ``module`` in steps of its output."""
    graph = graph_of(module, *data.shape[1:])
    network = quantize(graph, data, Recipe(activation_bits=8, weight_bits=8, sp2_ratio=0.0))
    codes = evaluate(network, quantise_inputs(network, data))
    wanted = evaluate_float(graph, {name: torch.from_numpy(data) for name in graph.inputs})
    name = network.outputs[0]
    error = dequantise(network, name, codes[name]) - wanted[name].numpy()
    return float(np.abs(error).max() / network.tensor(name).scale)


@pytest.mark.parametrize("size", [1e-10, 1.0, 1e10])
def test_any_size_of_values(size: float) -> None:
    data = (np.random.default_rng(0).normal(size=(16, 3, 5, 5)) * size).astype(np.float32)
    assert worst(nn.Conv2d(3, 4, 1, bias=False), data) < 8


class Tiny(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * 1e-12 + 1


class Ramp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(x, 0.0).clamp(-3, -1)


@pytest.mark.parametrize("module", [Tiny(), Ramp()], ids=["next to nothing", "negative ramp"])
def test_constants_survive(module: nn.Module) -> None:
    data = np.random.default_rng(0).normal(size=(16, 3, 5, 5)).astype(np.float32)
    assert worst(module, data) < 1


def test_overflow_is_refused() -> None:
    conv = nn.Conv2d(3, 4, 3)
    conv.weight.data.fill_(1)
    graph = graph_of(conv, 3, 5, 5)
    with pytest.raises(CelosiaError, match="beyond the range of a float32"):
        quantize(graph, np.full((2, 3, 5, 5), 3e38, np.float32), Recipe())


def test_helpers_are_exact_and_not_useful() -> None:
    class Helpers(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.avg_pool2d(nn.functional.relu(x + 0.0), 2)

    graph = graph_of(Helpers(), 3, 4, 4)
    data = np.random.default_rng(0).normal(size=(16, 3, 4, 4)).astype(np.float32)
    network = quantize(graph, data, Recipe(activation_bits=8))
    assert network.macs == 0
    for op in network.ops:
        assert isinstance(op, Conv)
        assert set(np.unique(op.weights)) == {1}
    assert max(error(graph, network, data).values()) < 1e-3


def test_multipliers_are_precise() -> None:
    """A residual as large as the output leaves the sum's multiplier few bits: still exact."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1)
            with torch.no_grad():
                self.conv.weight *= 0.05

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) + x

    graph = graph_of(Block(), 4, 6, 6)
    data = np.random.default_rng(0).normal(size=(16, 4, 6, 6)).astype(np.float32)
    network = quantize(graph, data, Recipe(weight_bits=8, sp2_ratio=0.0, error_feedback=False))
    (op,) = network.ops
    assert isinstance(op, Conv)
    assert (op.requant.positive >= 1).all()
    assert (op.requant.positive < 20).all()
    real = op.weights * weight_scale(network, op)[:, None, None, None]
    assert isinstance(graph.ops[0].weight, np.ndarray)
    gap = np.abs(real - graph.ops[0].weight).max()
    assert gap < 0.02 * np.abs(graph.ops[0].weight).max()


def test_dead_rows_and_dead_inputs() -> None:
    conv = nn.Conv2d(2, 4, 3)
    with torch.no_grad():
        conv.weight[1] = 0
        conv.bias[2] = 1000
        conv.weight[3] *= 1e-9
    graph = graph_of(nn.Sequential(conv, nn.ReLU()), 2, 5, 5)
    data = np.random.default_rng(0).normal(size=(8, 2, 5, 5)).astype(np.float32)
    network = quantize(graph, data, Recipe())
    assert error(graph, network, data)[network.outputs[0]] < 1e-3
    silent = quantize(graph, np.zeros_like(data), Recipe())
    assert silent.outputs == network.outputs


def test_unsigned_inputs() -> None:
    graph = graph_of(nn.Conv2d(1, 2, 2), 1, 3, 3)
    data = np.random.default_rng(0).uniform(0, 1, size=(8, 1, 3, 3))
    network = quantize(graph, data, Recipe())
    assert network.tensor(network.inputs[0]).format == Fixed(bits=8, signed=False)


def test_several_inputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 1)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.conv(a) + b)

    example = (torch.randn(1, 2, 3, 3), torch.randn(1, 3, 3, 3))
    graph = import_program(export_model(Two(), example))
    random = np.random.default_rng(0)
    data = {name: random.normal(size=(8, *shape)) for name, shape in graph.inputs.items()}
    network = quantize(graph, data, Recipe())
    codes = quantise_inputs(network, data)
    assert evaluate(network, codes)[network.outputs[0]].shape == (8, 3, 3, 3)
    with pytest.raises(CelosiaError, match="by name"):
        quantize(graph, data["a"], Recipe())
    with pytest.raises(CelosiaError, match="the inputs are"):
        quantize(graph, {"a": data["a"]}, Recipe())
    with pytest.raises(CelosiaError, match="same number of samples"):
        quantize(graph, {**data, "a": data["a"][:2]}, Recipe())
    with pytest.raises(CelosiaError, match="name one of"):
        quantise_input(network, data["a"])
    with pytest.raises(CelosiaError, match="missing"):
        quantise_inputs(network, {"a": data["a"]})


def test_input_codes(mixed: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = mixed
    network = quantize(graph, data, Recipe())
    tensor = network.tensor(network.inputs[0])
    codes = quantise_input(network, data)
    assert codes.dtype == np.int64
    inside = np.abs(data) < 127 * tensor.scale
    gap = dequantise(network, tensor.name, codes) - data
    assert np.abs(gap[inside]).max() <= tensor.scale / 2 * 1.001
    assert quantise_input(network, np.full((1, 2, 8, 8), 1e9)).max() == 127
    for bad, message in [
        (data[0], "must be"),
        (data[:0], "must be"),
        (data[:, :1], "must be"),
        (np.full((1, 2, 8, 8), np.nan), "finite"),
        (np.full((1, 2, 8, 8), 1e300), "fit a float32"),
        (np.full((1, 2, 8, 8), "a"), "finite"),
    ]:
        with pytest.raises(CelosiaError, match=message):
            quantise_input(network, bad)
    with pytest.raises(CelosiaError, match="no input 'q'"):
        quantise_input(network, data, "q")


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"weight_bits": 5}, ValueError, "weight_bits must be 4 or 8, not 5"),
        ({"activation_bits": 2}, ValueError, "activation_bits must be 4 or 8, not 2"),
        ({"sp2_ratio": 1.5}, ValueError, r"sp2_ratio must be in 0\.\.1"),
        ({"output_bits": 9}, ValueError, "output_bits must be"),
        ({"assignment": "variance"}, TypeError, "assignment must be"),
        ({"rounding": 0}, TypeError, "rounding must be"),
    ],
)
def test_recipe_wrong(fields: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Recipe(**fields)


def test_assignment() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(10, 200)) * np.arange(1, 11)[:, None]
    formats = assign_formats(rows, Recipe(sp2_ratio=0.3))
    assert [fmt.name for fmt in formats] == ["sp2_4"] * 3 + ["fixed4"] * 7
    uniform = random.uniform(-1, 1, size=(5, 200))
    peaked = random.laplace(size=(5, 200)) ** 3
    recipe = Recipe(sp2_ratio=0.5, assignment=Assignment.MSE)
    formats = assign_formats(np.concatenate([uniform, peaked]), recipe)
    assert [fmt.name for fmt in formats] == ["fixed4"] * 5 + ["sp2_4"] * 5


def test_coordinate_descent_lowers_the_error() -> None:
    random = np.random.default_rng(0)
    mix = random.normal(size=(40, 40))
    hessian = mix @ mix.T + 0.1 * np.eye(40)
    rows = random.normal(size=(12, 40))
    formats = (Sp2(bits=4), Fixed(bits=4)) * 6

    def loss(integers: np.ndarray, scale: np.ndarray) -> float:
        gap = integers * scale[:, None] - rows
        return float(((gap @ hessian) * gap).sum())

    fitted = loss(*round_rows(rows, formats, hessian, lambda scale: scale))
    plain = loss(*round_rows(rows, formats, None, lambda scale: scale))
    assert fitted < 0.5 * plain


def test_grid_saturates() -> None:
    grid = Grid(format=Fixed(bits=4), scale=0.5)
    assert grid.codes(np.array([-100, -0.5, 0.24, 0.26, 100])).tolist() == [-8, -1, 0, 1, 7]

"""Quantised networks: exact where they can be, near the float graph everywhere else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.assign import row_counts
from celosia.models.blocks import quantise_blocks
from celosia.models.bounds import accumulator_bits
from celosia.models.errors import CelosiaError
from celosia.models.find_scales import ScaleMethod
from celosia.models.formats import UE4M3, Fixed, IntScale, Sp2
from celosia.models.golden import evaluate
from celosia.models.graph import FloatConv, FloatGraph, evaluate_float
from celosia.models.grid import Grid
from celosia.models.importer import export_model, import_program
from celosia.models.inputs import dequantise, quantise_input, quantise_inputs
from celosia.models.network import MAX_ACCUMULATOR_BITS, Conv, Network, Rounding
from celosia.models.quantize import Assignment, Plan, Recipe, quantize, weight_scale
from celosia.models.recipe import msq, parse_blocks, parse_mix
from celosia.models.round_weights import Rounded, Rounder
from celosia.models.storage import fingerprint


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
        weights=msq(weight_bits, sp2_ratio=ratio),
        activation_bits=activation_bits,
        rounding=rounding,
    )
    network = quantize(graph, data, recipe)
    assert max(error(graph, network, data).values()) < limit
    fresh = np.random.default_rng(9).normal(size=(32, 2, 8, 8)).astype(np.float32)
    assert max(error(graph, network, fresh).values()) < 2 * limit


def test_error_feedback_helps(mixed: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = mixed
    recipe = Recipe(activation_bits=8)
    fitted = quantize(graph, data, recipe)
    plain = quantize(graph, data, replace(recipe, error_feedback=False))
    assert sum(error(graph, fitted, data).values()) < sum(error(graph, plain, data).values())


def test_formats_follow_the_recipe(mixed: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = mixed
    recipe = Recipe(weights=msq(4, sp2_ratio=0.5), activation_bits=4, first_last_8bit=True)
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
    graph, data = mixed
    assert len({fingerprint(quantize(graph, data, Recipe())) for _ in range(2)}) == 1


def worst(module: nn.Module, data: np.ndarray) -> float:
    """Return the largest error of the quantised ``module`` in steps of its output."""
    graph = graph_of(module, *data.shape[1:])
    network = quantize(graph, data, Recipe(weights=msq(8, sp2_ratio=0.0), activation_bits=8))
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
    network = quantize(graph, data, Recipe(weights=msq(8, sp2_ratio=0.0), error_feedback=False))
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


@pytest.mark.parametrize("blocks", [None, "uint4:16"])
def test_coordinate_descent_lowers_the_error(blocks: str | None) -> None:
    random = np.random.default_rng(0)
    mix = random.normal(size=(40, 40))
    hessian = mix @ mix.T + 0.1 * np.eye(40)
    rows = random.normal(size=(12, 40))
    rounder = Rounder(
        formats=(Sp2(bits=4), Fixed(bits=4)) * 6,
        snap=lambda scale: scale,
        blocks=None if blocks is None else parse_blocks(blocks),
    )

    def loss(rounded: Rounded) -> float:
        gap = rounded.values * rounded.factors * rounded.scale[:, None] - rows
        return float(((gap @ hessian) * gap).sum())

    share = 0.5 if blocks is None else 0.7  # the vectors' scales stay
    assert loss(rounder.round(rows, hessian)) < share * loss(rounder.round(rows))


EVERY_FORMAT = ["fixed2", "fixed3", "sp2_3", "sp2_6", "pot_4", "esb4_1", "esb6_2", "fixed8"]


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_every_format(mixed: tuple[FloatGraph, np.ndarray], name: str) -> None:
    graph, data = mixed
    network = quantize(graph, data, Recipe(weights=parse_mix(name)))
    useful = [op for op in network.ops if isinstance(op, Conv) and op.useful]
    assert {fmt.name for op in useful for fmt in op.formats} == {name}
    # Eight values of a weight and more: a tenth of the variance is lost at most.
    limit = 0.6 if name in ("fixed2", "fixed3", "sp2_3") else 0.1
    assert max(error(graph, network, data).values()) < limit


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("method", ScaleMethod)
def test_every_width_of_activations(
    mixed: tuple[FloatGraph, np.ndarray], bits: int, method: ScaleMethod
) -> None:
    graph, data = mixed
    recipe = Recipe(weights=msq(8, 0), activation_bits=bits, activation_scale=method, scale=method)
    network = quantize(graph, data, recipe)
    assert {tensor.format.bits for tensor in network.tensors} == {bits}
    if bits >= 4:
        assert max(error(graph, network, data).values()) < 0.3


def test_one_bit_holds_no_two_signs(mixed: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = mixed
    with pytest.raises(CelosiaError, match="values of both signs, and one bit holds -1 and 0"):
        quantize(graph, data, Recipe(activation_bits=1))
    hidden = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    ones = np.random.default_rng(0).integers(0, 2, (16, 1, 5, 5)).astype(np.float32)
    network = quantize(graph_of(hidden, 1, 5, 5), ones, Recipe(activation_bits=1, output_bits=8))
    assert [tensor.format.name for tensor in network.tensors] == ["ufixed1", "ufixed1", "fixed8"]


def test_mixes_have_exact_counts(mixed: tuple[FloatGraph, np.ndarray]) -> None:
    graph, data = mixed
    recipe = Recipe(weights=parse_mix("pot_4:60,fixed4:35,fixed8:5"), assignment=Assignment.HESSIAN)
    network = quantize(graph, data, recipe)
    for op in network.ops:
        if isinstance(op, Conv) and op.useful:
            counts = row_counts(recipe.weights, len(op.formats))
            assert [op.formats.count(share.format) for share in recipe.weights] == list(counts)
    again = quantize(graph, data, recipe)
    assert fingerprint(again) == fingerprint(network)


@pytest.mark.parametrize(
    ("weights", "blocks", "limit"),
    [
        ("fixed4", "uint4:16", 0.03),
        ("fixed8", "e8m0_4:32", 2e-3),
        ("esb4_1", "e8m0_4:32", 0.06),
        ("esb6_3", "e8m0_5:32", 5e-3),
        ("esb4_1", "ue4m3:16", 0.03),
    ],
)
@pytest.mark.parametrize("feedback", [True, False])
def test_scales_of_vectors(weights: str, blocks: str, limit: float, feedback: bool) -> None:
    """VS-Quant, MX and NVFP4 weights; also what is not cut: a depthwise layer."""
    torch.manual_seed(20261121)
    module = nn.Sequential(
        nn.Conv2d(2, 40, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(40, 40, 3, groups=40),
        nn.ReLU(),
        nn.Conv2d(40, 6, 3),
    )
    with torch.no_grad():
        module[4].weight[:, 32:] *= 0.1
    graph = graph_of(module, 2, 7, 7)
    data = np.random.default_rng(4).normal(size=(48, 2, 7, 7)).astype(np.float32)
    scaling = parse_blocks(blocks)
    recipe = Recipe(
        weights=parse_mix(weights), blocks=scaling, uneven_vectors=True, error_feedback=feedback
    )
    network = quantize(graph, data, recipe)
    first, depthwise, last = (op for op in network.ops if isinstance(op, Conv))
    assert depthwise.scales is None
    assert first.scales is not None
    assert first.scales.values.shape == (40, 1, 3, 3)
    assert last.scales is not None
    assert last.scales.values.shape == (6, -(-40 // scaling.vector), 3, 3)
    assert len(np.unique(last.scales.values)) > 1
    assert max(error(graph, network, data).values()) < limit * (1 if feedback else 3)
    if not feedback:
        check_published(graph, last, recipe, weight_scale(network, last))


def check_published(graph: FloatGraph, op: Conv, recipe: Recipe, unit: np.ndarray) -> None:
    """Check that elements and scales are those of the block quantiser, row by row."""
    assert recipe.blocks is not None
    assert op.scales is not None
    (source,) = (each for each in graph.ops if each.name == op.name)
    assert isinstance(source, FloatConv)
    scaling, channels = recipe.blocks, source.weight.shape[1]
    whole = -(-channels // scaling.vector) * scaling.vector
    padded = np.zeros((len(op.weights), 9, whole))
    padded[:, :, :channels] = source.weight.reshape(len(padded), channels, 9).transpose(0, 2, 1)
    few = isinstance(scaling.scale, IntScale) and op.formats[0].bits > scaling.scale.bits + 1
    cut = quantise_blocks(
        padded.reshape(len(padded), -1),
        op.formats[0],
        scaling,
        common=isinstance(scaling.scale, UE4M3),
        round_up=few,
    )
    ours = op.weights.reshape(len(padded), channels, 9).transpose(0, 2, 1)
    np.testing.assert_array_equal(cut.values.reshape(padded.shape)[:, :, :channels], ours)
    scales = op.scales.values.reshape(len(padded), -1, 9).transpose(0, 2, 1)
    # A power of two may have gone from the scales of a row into its unit.
    shift = cut.scales.max(axis=1) // scales.reshape(len(scales), -1).max(axis=1)
    assert set(shift.tolist()) <= {1 << bit for bit in range(16)}
    np.testing.assert_array_equal(cut.scales.reshape(scales.shape), scales * shift[:, None, None])
    assert unit == pytest.approx(cut.unit * shift, rel=1e-4)


def test_small_floats_leave_bits_for_a_residual() -> None:
    """The sum and the residual share a shift: weights of NVFP4 must not be too fine for it."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) + x

    torch.manual_seed(20261121)
    graph = graph_of(Block(), 16, 5, 5)
    data = np.random.default_rng(8).normal(size=(32, 16, 5, 5)).astype(np.float32)
    recipe = Recipe(weights=parse_mix("esb4_1"), blocks=parse_blocks("ue4m3:16"))
    network = quantize(graph, data, recipe)
    assert max(error(graph, network, data).values()) < 0.02


@pytest.mark.parametrize(("channels", "cut"), [(16, True), (12, False)])
def test_vectors_do_not_reach_over_members_of_a_concat(channels: int, cut: bool) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, channels, 1), nn.Conv2d(3, 8, 1)
            self.last = nn.Conv2d(channels + 8, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.cat([self.left(x), self.right(x)], 1))

    data = np.random.default_rng(7).normal(size=(8, 3, 3, 3)).astype(np.float32)
    recipe = Recipe(
        weights=parse_mix("fixed4"), blocks=parse_blocks("uint4:16"), uneven_vectors=True
    )
    network = quantize(graph_of(Joined(), 3, 3, 3), data, recipe)
    (last,) = (op for op in network.ops if op.name == "last")
    assert isinstance(last, Conv)
    assert (last.scales is not None) == cut


def test_sums_of_powers_are_cut_to_the_accumulator() -> None:
    conv = nn.Conv2d(32, 1, 1, bias=False)
    with torch.no_grad():
        conv.weight[:, :16] = 1.0
        conv.weight[:, 16:] = 2.0**-30
    data = np.random.default_rng(5).normal(size=(8, 32, 3, 3)).astype(np.float32)
    recipe = Recipe(
        weights=parse_mix("esb8_4"), blocks=parse_blocks("e8m0_5:16"), error_feedback=False
    )
    network = quantize(graph_of(conv, 32, 3, 3), data, recipe)
    (op,) = network.ops
    assert isinstance(op, Conv)
    assert accumulator_bits(op, network.tensor(op.input).format) <= MAX_ACCUMULATOR_BITS
    assert op.weights[0, :16].all()


def test_fine_tuned_plans_keep_vectors() -> None:
    graph = graph_of(nn.Sequential(nn.Conv2d(20, 4, 1), nn.ReLU()), 20, 4, 4)
    data = np.random.default_rng(6).normal(size=(16, 20, 4, 4)).astype(np.float32)
    recipe = Recipe(
        weights=parse_mix("esb4_1"),
        blocks=parse_blocks("e8m0_4:16"),
        uneven_vectors=True,
        error_feedback=False,
    )
    network = quantize(graph, data, recipe)
    again = quantize(graph, data, recipe, Plan.of(network))
    assert fingerprint(again) == fingerprint(network)


def test_grid_saturates() -> None:
    grid = Grid(format=Fixed(bits=4), scale=0.5)
    assert grid.codes(np.array([-100, -0.5, 0.24, 0.26, 100])).tolist() == [-8, -1, 0, 1, 7]

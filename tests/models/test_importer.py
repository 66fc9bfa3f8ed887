"""Imported and fused graphs compute what torch computes; the rest is refused in words."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from celosia.models.errors import CelosiaError
from celosia.models.graph import FloatConv, FloatGraph, evaluate_float
from celosia.models.importer import check_model, export_model, import_program
from celosia.models.network import Concat, MaxPool


class Wrap(nn.Module):
    """A function of the input and of some layers."""

    def __init__(self, function: Callable[..., object], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> object:
        return self.function(*inputs, *self.layers)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch normalisations statistics and PReLUs slopes of their own."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            for tensor in (part.running_mean, part.weight, part.bias):
                tensor.data.normal_(generator=generator)
            part.running_var.uniform_(0.5, 2, generator=generator)
        if isinstance(part, nn.PReLU):
            part.weight.data.uniform_(-0.2, 0.6, generator=generator)
    return module.eval()


def agree(module: nn.Module, *shapes: tuple[int, ...]) -> FloatGraph:
    """Import ``module`` and compare all outputs; return the graph."""
    torch.manual_seed(0)
    randomise(module)
    example = tuple(torch.randn(1, *shape) for shape in shapes)
    graph = import_program(export_model(module, example))
    inputs = [torch.randn(3, *shape, dtype=torch.float64) for shape in shapes]
    values = evaluate_float(graph, dict(zip(graph.inputs, inputs, strict=True)))
    with torch.no_grad():
        # One by one: a model exported for a batch of 1 may have that size in its reshapes.
        module = module.double()
        expected = [module(*(x[i : i + 1] for x in inputs)) for i in range(3)]
    for position, name in enumerate(graph.outputs):
        wanted = torch.cat(
            [value if isinstance(value, torch.Tensor) else value[position] for value in expected]
        )
        got = values[name].reshape(wanted.shape)
        assert torch.allclose(got, wanted, atol=1e-6), name
    return graph


@pytest.mark.parametrize("padding", [0, (2, 1), "same", "valid"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions(padding: object, groups: int) -> None:
    graph = agree(
        nn.Conv2d(4, 8, (3, 4), padding=padding, dilation=(2, 1), groups=groups), (4, 9, 8)
    )
    assert len(graph.ops) == 1


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.ReLU6(),
        nn.Hardtanh(0, 6),
        nn.Hardtanh(-1, 1),
        nn.PReLU(5),
        nn.PReLU(),
        nn.LeakyReLU(0.1),
        nn.Hardsigmoid(),
        nn.LeakyReLU(0.2, inplace=True),
        nn.BatchNorm2d(5),
        nn.Dropout(),
        nn.Identity(),
    ],
)
def test_layers_fuse_into_the_convolution(layer: nn.Module) -> None:
    graph = agree(nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, bias=False), layer), (3, 8, 9))
    assert len(graph.ops) == 1


def test_clamp_and_relu_functions() -> None:
    def function(x: torch.Tensor, conv: nn.Module) -> torch.Tensor:
        return functional.relu6(conv(x).clamp(min=-0.5)).clamp(0.1, 0.4)

    assert len(agree(Wrap(function, nn.Conv2d(2, 3, 1)), (2, 4, 4)).ops) == 1


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        nn.MaxPool2d((2, 3), (3, 1), padding=(1, 0)),
        nn.MaxPool2d(2, dilation=2),
        nn.AvgPool2d(2),
        nn.AvgPool2d((3, 2), stride=(1, 2), padding=1),
        nn.AvgPool2d(3, divisor_override=4),
        nn.AvgPool2d(3, stride=3, padding=1, count_include_pad=False, divisor_override=5),
        nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveAvgPool2d((2, 5)),
        nn.AdaptiveAvgPool2d((4, 9)),
    ],
)
@pytest.mark.parametrize("size", [(8, 10), (8, 9)])
def test_pooling(pool: nn.Module, size: tuple[int, int]) -> None:
    if isinstance(pool, nn.AdaptiveAvgPool2d) and size == (8, 9) and pool.output_size == (2, 5):
        # 9 -> 5: windows of 2 at 0, 1, 3, 5, 7 are not evenly spaced.
        finding = check_model(export_model(pool, (torch.randn(1, 3, *size),)))
        assert "differ in size" in str(finding[0])
        return
    agree(pool, (3, *size))


def test_adaptive_pooling_with_overlap() -> None:
    assert agree(nn.AdaptiveAvgPool2d((2, 3)), (3, 3, 4)).ops[0].window.stride == (1, 1)


def test_mean_over_the_image() -> None:
    def function(x: torch.Tensor, linear: nn.Module) -> torch.Tensor:
        return linear(x.mean((2, 3))) + linear(x.mean((-1, -2), keepdim=True).flatten(1))

    agree(Wrap(function, nn.Linear(3, 4)), (3, 5, 6))


@pytest.mark.parametrize("swap", [False, True])
def test_residual_additions_fuse(swap: bool) -> None:
    def function(
        x: torch.Tensor, first: nn.Module, second: nn.Module, norm: nn.Module
    ) -> torch.Tensor:
        x = first(x)
        y = norm(second(x))
        return torch.relu(x + y if swap else y + x)

    layers = (nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
    graph = agree(Wrap(function, *layers), (3, 7, 7))
    assert len(graph.ops) == 2
    assert graph.ops[1].residual is not None


@pytest.mark.parametrize("swap", [False, True])
def test_additions_fuse_into_the_operand_of_more_weights(swap: bool) -> None:
    def function(x: torch.Tensor, body: nn.Module, shortcut: nn.Module) -> torch.Tensor:
        return torch.relu(shortcut(x) + body(x) if swap else body(x) + shortcut(x))

    graph = agree(Wrap(function, nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)), (2, 5, 5))
    first, second = graph.ops
    assert isinstance(first, FloatConv)
    assert isinstance(second, FloatConv)
    assert (first.weight.shape[2:], second.weight.shape[2:]) == ((1, 1), (3, 3))
    assert second.residual == first.output


@pytest.mark.parametrize("act", [nn.ReLU(), nn.PReLU(4), nn.LeakyReLU(0.1)])
def test_activation_before_the_addition_fuses(act: nn.Module) -> None:
    def function(x: torch.Tensor, conv: nn.Module, act: nn.Module) -> torch.Tensor:
        return torch.relu(x + act(conv(x)))

    graph = agree(Wrap(function, nn.Conv2d(4, 4, 3, padding=1), act), (4, 5, 5))
    assert len(graph.ops) == 1


def test_relu6_before_the_addition_stays_apart() -> None:
    def function(x: torch.Tensor, conv: nn.Module, act: nn.Module) -> torch.Tensor:
        return x + act(conv(x))

    graph = agree(Wrap(function, nn.Conv2d(4, 4, 3, padding=1), nn.ReLU6()), (4, 5, 5))
    assert [op.useful for op in graph.ops] == [True, False]


def test_addition_of_a_value_to_itself() -> None:
    agree(Wrap(lambda x, conv: (y := conv(x)) + y, nn.Conv2d(3, 4, 1)), (3, 2, 2))
    agree(Wrap(lambda x: x + x), (3, 2, 2))


def test_constants_fold() -> None:
    def function(x: torch.Tensor, conv: nn.Module) -> torch.Tensor:
        return 3 - (conv((x - 0.5) / 2) * 4 + 1)

    assert len(agree(Wrap(function, nn.Conv2d(3, 4, 2)), (3, 5, 5)).ops) == 1


def test_constant_shift_does_not_cross_padding() -> None:
    def function(x: torch.Tensor, conv: nn.Module) -> torch.Tensor:
        return conv(x + 1)

    assert len(agree(Wrap(function, nn.Conv2d(3, 4, 3, padding=1)), (3, 5, 5)).ops) == 2


def test_batch_norm_after_relu_goes_forward() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 2, groups=1)
    )
    assert len(agree(module, (3, 8, 8)).ops) == 2
    module = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 2, groups=2))
    assert len(agree(module, (4, 8, 8)).ops) == 1


def test_activation_behind_a_pooling_moves_before_it() -> None:
    graph = agree(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU()), (3, 8, 8))
    assert [type(op) for op in graph.ops] == [FloatConv, MaxPool]


def test_concat_and_its_copies() -> None:
    def function(x: torch.Tensor, conv: nn.Module, other: nn.Module) -> torch.Tensor:
        y = conv(x)
        z = torch.cat([y, x, y], 1)
        return other(torch.cat([z, y], dim=-3))

    graph = agree(Wrap(function, nn.Conv2d(3, 4, 1), nn.Conv2d(15, 2, 3)), (3, 5, 5))
    members = [name for op in graph.ops if isinstance(op, Concat) for name in op.inputs]
    assert len(members) == len(set(members)) == 5


@pytest.mark.parametrize(
    "shape",
    [
        lambda x: x.flatten(1),
        lambda x: x.view(x.shape[0], -1),
        lambda x: x.reshape(-1, 60),
        lambda x: x.permute(0, 3, 2, 1).contiguous().view(x.shape[0], -1),
        lambda x: x.transpose(1, 3).flatten(1),
        lambda x: x.flatten(2).permute(0, 2, 1).reshape(1, -1),
        lambda x: x.unsqueeze(1).squeeze(1).flatten(1),
    ],
)
def test_reshapes_fold_into_the_linear_layer(shape: Callable[..., torch.Tensor]) -> None:
    def function(x: torch.Tensor, first: nn.Module, second: nn.Module) -> torch.Tensor:
        return second(torch.relu(first(shape(x))))

    graph = agree(Wrap(function, nn.Linear(60, 7), nn.Linear(7, 3)), (3, 4, 5))
    assert len(graph.ops) == 2


def test_flattened_concat_and_batch_norm_1d() -> None:
    def function(x: torch.Tensor, a: nn.Module, b: nn.Module, norm: nn.Module) -> torch.Tensor:
        return b(norm(torch.cat([a(x.flatten(1)), a(x.flatten(1) * 2)], 1)))

    agree(Wrap(function, nn.Linear(12, 3), nn.Linear(6, 2), nn.BatchNorm1d(6)), (3, 2, 2))


def test_zero_padding_is_taken_in() -> None:
    module = nn.Sequential(nn.ZeroPad2d((1, 2, 0, 3)), nn.Conv2d(3, 4, 3, padding=1))
    graph = agree(module, (3, 5, 5))
    assert graph.ops[0].window.padding == (1, 2, 4, 3)


def test_several_inputs_and_outputs() -> None:
    def function(a: torch.Tensor, b: torch.Tensor, conv: nn.Module) -> tuple[torch.Tensor, ...]:
        y = conv(a)
        return y + b, torch.relu(y), b

    graph = agree(Wrap(function, nn.Conv2d(3, 4, 1)), (3, 4, 4), (4, 4, 4))
    assert len(graph.inputs) == 2
    assert len(graph.outputs) == 3


def test_softmax_at_the_end_is_left_out() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Softmax(dim=1))
    graph = import_program(export_model(module, (torch.randn(1, 3, 2, 2),)))
    assert len(graph.ops) == 1
    assert "softmax 2 left out" in graph.notes[0]


def test_dynamic_batch() -> None:
    def function(x: torch.Tensor, conv: nn.Module, linear: nn.Module) -> torch.Tensor:
        return linear(torch.relu_(conv(x)).view(x.size(0), -1))

    module = Wrap(function, nn.Conv2d(3, 4, 3), nn.Linear(16, 2)).eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(
        module, (torch.randn(2, 3, 4, 4),), dynamic_shapes={"inputs": ({0: batch},)}
    )
    assert check_model(exported) == []
    assert len(import_program(exported).ops) == 2


def test_core_aten_program() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    randomise(module)
    x = torch.randn(1, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        core = export_model(module, (x,)).run_decompositions()
    graph = import_program(core)
    got = evaluate_float(graph, {next(iter(graph.inputs)): x.double()})
    with torch.no_grad():
        wanted = module.double()(x.double())
    assert torch.allclose(got[graph.outputs[0]].flatten(1), wanted, atol=1e-6)


def findings(function: Callable[..., object], *layers: nn.Module) -> list[str]:
    module = Wrap(function, *layers).eval()
    exported = export_model(module, (torch.randn(1, 4, 6, 6),))
    found = check_model(exported)
    if found:
        with pytest.raises(CelosiaError, match="cannot be imported"):
            import_program(exported)
    return [str(finding) for finding in found]


def test_every_unsupported_operator_is_listed_once() -> None:
    def function(x: torch.Tensor, conv: nn.Module, gelu: nn.Module) -> torch.Tensor:
        y = gelu(conv(torch.cos(x)))
        return torch.tanh(y[:, :2]) * torch.relu(conv(x))[:, 2:]

    found = findings(function, nn.Conv2d(4, 4, 1), nn.GELU())
    operators = [line.split(" at ")[0] for line in found]
    assert operators == ["aten.cos.default", "aten.slice.Tensor"]
    assert "keep it outside the model" in found[0]
    found = findings(lambda x, act: act(torch.sin(x)) + act(x), nn.LogSigmoid())
    operators = [line.split(" at ")[0] for line in found]
    assert operators == ["aten.sin.default", "aten.log_sigmoid.default"]
    assert "(in layers.0)" in found[1]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x / torch.relu(x), "multiplies or divides two activations"),
        (lambda x: torch.add(x, torch.relu(x), alpha=2), "scales an operand"),
        (lambda x: x + x.mean((2, 3), keepdim=True), "broadcasting"),
        (lambda x: x.mean(1), "averages over axes"),
        (lambda x: functional.relu(torch.softmax(x, 1)), "softmax may only end"),
        (lambda x: torch.softmax(x, 2), "does not run over the channels"),
        (lambda x: functional.relu(functional.pad(x, (1, 1))), "zero padding before it"),
        (lambda x: functional.pad(x, (1, 1), value=1.0), "pads with mode"),
        (lambda x: functional.pad(x, (1,) * 4, mode="reflect"), "pads with mode"),
        (lambda x: x.permute(0, 2, 1, 3), "output permute is a rearranged tensor"),
        (lambda x: functional.max_pool2d(x.permute(0, 2, 1, 3), 2), "rearranged"),
        (lambda x: x.permute(1, 0, 2, 3), "batch axis"),
        (lambda x: x.reshape(2, -1), "batch axis"),
        (lambda x: torch.cat([x, x], 2), "joins along axis 2"),
        (lambda x: functional.avg_pool2d(x, 4, 4, ceil_mode=True), "average fewer elements"),
        (
            lambda x: functional.avg_pool2d(x, 3, padding=1, count_include_pad=False),
            "average fewer elements",
        ),
        (lambda x: functional.adaptive_avg_pool2d(x, 4), "differ in size"),
        (lambda x: functional.dropout(x, 0.5, True), "training mode"),
        (lambda x: functional.dropout2d(x, 0.5, True), "training mode"),
        (lambda x: functional.max_pool2d(x, 2, return_indices=True)[1], "indices"),
        (lambda x: functional.prelu(x, x.mean((0, 2, 3))), "batch axis"),
        (lambda x: x + torch.randn(4, 1, 1), "computes a constant"),
        (lambda x: x + torch.arange(6.0), "differ inside a channel"),
        (lambda x: (x, torch.ones(3)), "output is a constant"),
        (lambda x: x.to(torch.int32).to(torch.float32), "makes torch.int32 of an activation"),
        (lambda x: x.bool().float(), "makes torch.bool of an activation"),
        (lambda x: x / 0, "divides by zero"),
        (lambda x: x @ torch.ones(6, 2), "use nn.Linear"),
        (lambda x: functional.max_pool2d(x, 2, 1, 1, dilation=7), "nothing but padding"),
    ],
)
def test_unsupported(function: Callable[..., object], message: str) -> None:
    found = findings(function)
    assert len(found) == 1, found
    assert message in found[0]


@pytest.mark.parametrize(
    "layer", [nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.FeatureAlphaDropout()]
)
def test_dropouts_vanish(layer: nn.Module) -> None:
    assert len(agree(nn.Sequential(nn.Conv2d(3, 4, 3), layer), (3, 5, 5)).ops) == 1


def test_linear_along_the_last_axis() -> None:
    assert "along the last axis" in findings(lambda x, linear: linear(x), nn.Linear(6, 2))[0]


def test_training_batch_norm() -> None:
    module = Wrap(lambda x: functional.batch_norm(x, None, None, training=True))
    found = check_model(export_model(module, (torch.randn(1, 4, 6, 6),)))
    assert any("training mode" in str(finding) for finding in found)


def test_exported_in_training_mode() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    exported = torch.export.export(module, (torch.randn(2, 3, 6, 6),))
    assert [found.remedy for found in check_model(exported)] == [
        "call model.eval() before exporting"
    ]


def test_negative_slope_before_an_addition_stays_apart() -> None:
    layers = nn.Conv2d(3, 3, 1), nn.PReLU(3)
    layers[1].weight.data = torch.tensor([0.2, -0.3, -0.1])
    module = Wrap(lambda x, conv, act: functional.relu(act(conv(x))) + x, *layers)
    assert len(agree(module, (3, 5, 5)).ops) == 2


def test_inputs_that_are_no_images() -> None:
    for example in (torch.randn(1, 3), torch.ones(1, 3, 4, 4, dtype=torch.int64)):
        found = check_model(export_model(nn.Identity(), (example,)))
        assert "input" in found[0].reason


def test_shape_dynamic() -> None:
    side = torch.export.Dim("side", min=4)
    exported = torch.export.export(
        nn.Conv2d(3, 4, 3), (torch.randn(1, 3, 8, 8),), dynamic_shapes=({2: side},)
    )
    assert "fixed C, H and W" in check_model(exported)[0].remedy


def test_export_failure_is_named() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x

    with pytest.raises(CelosiaError, match="cannot trace Wrap"):
        export_model(Wrap(function), (torch.randn(1, 3, 4, 4),))


def test_graph_wrong() -> None:
    graph = agree(nn.Conv2d(3, 4, 3), (3, 5, 5))
    op = graph.ops[0]
    assert isinstance(op, FloatConv)
    with pytest.raises(ValueError, match="nothing writes output"):
        FloatGraph(name="g", inputs=graph.inputs, outputs=("z",), ops=graph.ops)
    with pytest.raises(ValueError, match="a second time"):
        FloatGraph(name="g", inputs=graph.inputs, outputs=graph.outputs, ops=(op, op))
    with pytest.raises(ValueError, match="before it is written"):
        FloatGraph(name="g", inputs={}, outputs=graph.outputs, ops=(op,))
    with pytest.raises(ValueError, match="input has 2"):
        FloatGraph(name="g", inputs={op.input: (2, 5, 5)}, outputs=graph.outputs, ops=(op,))
    assert np.isfinite(op.weight).all()

"""Functions of one value: as PyTorch and numpy have them, as tables, in networks and files."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.functions import Function, sampled
from celosia.models.golden import evaluate
from celosia.models.graph import evaluate_float
from celosia.models.importer import export_model, import_program
from celosia.models.inputs import dequantise, quantise_inputs
from celosia.models.network import Conv, MaxPool, Network, Requant
from celosia.models.qat import Schedule, finetune
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe, Share
from celosia.models.storage import fingerprint, load, save
from celosia.models.tables import MAX_INDEX, Table

W8 = (Share(format=Fixed(bits=8), ratio=1.0),)
X = np.linspace(-12, 12, 4801)


class Gate(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)


class Erf(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (0.5 * (1 + torch.erf(x / math.sqrt(2))))


def model(activation: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    layers = (nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), activation, nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Conv2d(6, 4, 1), activation).eval()


def images(count: int = 4) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).normal(0, 2, (count, 3, 8, 8))).float()


NUMPY = {
    Function.SIGMOID: 1 / (1 + np.exp(-X)),
    Function.TANH: np.tanh(X),
    Function.SILU: X / (1 + np.exp(-X)),
    Function.HARD_SWISH: X * np.clip(X + 3, 0, 6) / 6,
    Function.HARD_SIGMOID: np.clip(X / 6 + 0.5, 0, 1),
    Function.GELU: 0.5 * X * (1 + np.vectorize(math.erf)(X / math.sqrt(2))),
    Function.GELU_TANH: 0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3))),
    Function.ERF: np.vectorize(math.erf)(X),
    Function.SOFTPLUS: np.log1p(np.exp(X)),
    Function.MISH: X * np.tanh(np.log1p(np.exp(X))),
    Function.ELU: np.where(X > 0, X, np.expm1(X)),
    Function.EXP: np.exp(X),
}


@pytest.mark.parametrize("function", NUMPY, ids=lambda function: function.label)
def test_functions_are_numpys(function: Function) -> None:
    got = sampled(function, X)
    np.testing.assert_allclose(got, NUMPY[function], rtol=1e-12, atol=1e-12)
    low, high = (float(np.clip(end, -12, 12)) for end in function.reach)
    beyond = got[X < low], got[X > high]
    assert all(len(part) == 0 or np.ptp(part) < 2e-3 for part in beyond)
    assert not function.non_negative or got.min() >= 0


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.Sigmoid(), "sigmoid"), (nn.Tanh(), "tanh"), (nn.SiLU(), "silu"),
        (nn.Hardswish(), "hard_swish"), (nn.GELU(), "gelu"), (nn.Mish(), "mish"),
        (Gate(), "(x * sigmoid)"), (Erf(), "(x * line erf line line)"),
    ],
)  # fmt: skip
def test_torch_models_end_in_tables(activation: nn.Module, name: str) -> None:
    net, x = model(activation), images()
    graph = import_program(export_model(net, (x[:1],)))
    with torch.no_grad():
        expected = net(x).numpy()
    floats = evaluate_float(graph, {next(iter(graph.inputs)): x})[graph.outputs[0]]
    np.testing.assert_allclose(floats.numpy(), expected, atol=1e-5)
    network = quantize(graph, x.numpy(), Recipe(weights=W8))
    assert [type(op) for op in network.ops] == [Conv, MaxPool, Conv]
    tables = [op.requant.table for op in network.ops if isinstance(op, Conv)]
    assert [table.function for table in tables if table is not None] == [name, name]
    got = evaluate(network, quantise_inputs(network, x.numpy()))[network.outputs[0]]
    error = dequantise(network, network.outputs[0], got) - expected
    assert (error**2).sum() < 1e-3 * (expected**2).sum()
    # Every entry is the nearest code to the function of its index.
    for op in network.ops:
        if isinstance(op, Conv) and op.requant.table is not None:
            table, target = op.requant.table, network.tensor(op.output)
            indices = np.arange(op.requant.low, op.requant.high + 1) * table.scale
            real = model(activation)[2](torch.from_numpy(indices)).numpy()
            ends = target.format.low, target.format.high
            np.testing.assert_array_equal(table.values, np.rint(real / target.scale).clip(*ends))


def test_files_training_and_refusals(tmp_path: Path) -> None:
    graph = import_program(export_model(model(nn.SiLU()), (images(1),)))
    recipe = Recipe(weights=W8, table_bits=6, error_feedback=False)
    network = quantize(graph, images().numpy(), recipe)
    save(network, tmp_path / "n.celosia")
    again = load(tmp_path / "n.celosia")
    assert fingerprint(again) == fingerprint(network)
    op = again.ops[0]
    assert isinstance(op, Conv)
    assert op.requant.table is not None
    assert len(op.requant.table.values) == 64
    trained = finetune(graph, images().numpy(), recipe, Schedule(epochs=1))
    assert isinstance(trained, Network)
    values = op.requant.table.values
    with pytest.raises(ValueError, match="must have an entry for each of"):
        replace(op.requant, high=op.requant.high - 1)
    with pytest.raises(ValueError, match="at most 4096 entries"):
        Table(function="f", scale=1.0, values=np.zeros(MAX_INDEX + 1, np.int64))
    with pytest.raises(ValueError, match="scale must be positive"):
        Table(function="f", scale=0.0, values=values)
    with pytest.raises(ValueError, match=r"must be in -4096\.\.4096 where there is a table"):
        replace(op.requant, low=-5000, high=-5000 + len(values) - 1)
    wide = replace(op.requant.table, values=values * 100)
    ops = (replace(op, requant=replace(op.requant, table=wide)), *again.ops[1:])
    with pytest.raises(ValueError, match=r"table .* must lie in fixed8"):
        replace(again, ops=ops)
    with pytest.raises(ValueError, match="table_bits must be in"):
        Recipe(table_bits=3)
    assert Requant.__dataclass_fields__["table"].default is None


def test_parameters_other_than_the_default_are_refused() -> None:
    with pytest.raises(CelosiaError, match=r"elu.*its alpha is 0.5; use the default, 1"):
        import_program(export_model(model(nn.ELU(0.5)), (images(1),)))

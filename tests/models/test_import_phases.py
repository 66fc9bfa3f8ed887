"""Transposed convolutions and resizes compute what torch does, pixel by pixel."""

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.graph import FloatConv, evaluate_float
from celosia.models.import_phases import Phase, axis_of
from celosia.models.importer import export_model, import_program
from celosia.models.network import Interleave

# Kernel, stride, padding, output padding, groups, dilation: overlapping, disjoint and missing taps,
# crops, phases whose taps begin inside.
TRANSPOSED = (
    (2, 2, 0, 0, 1, 1),
    (4, 2, 1, 0, 1, 1),
    (3, 2, 1, 1, 2, 1),
    ((1, 5), (3, 2), (0, 3), (2, 1), 1, (1, 2)),
    ((5, 4), (2, 3), (3, 3), 1, 4, (2, 1)),
    (3, 1, 1, 0, 1, 2),
)
RESIZES = ((2, "nearest"), ((1, 3), "nearest-exact"), (2, "bilinear"), ((3, 4), "bilinear"))


class Every(nn.Module):
    """Each operator on the same input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.ConvTranspose2d(4, 8, k, s, p, o, g, dilation=d) for k, s, p, o, g, d in TRANSPOSED]
            + [nn.Upsample(scale_factor=factor, mode=mode) for factor, mode in RESIZES]
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [layer(x) for layer in self.layers]


@pytest.mark.parametrize("size", [(5, 4), (1, 2)])
def test_every_operator(size: tuple[int, int]) -> None:
    torch.manual_seed(20261121)
    model, x = Every(), torch.randn(2, 4, *size, dtype=torch.float64)
    if size == (1, 2):  # too few pixels for the paddings of the others
        model.layers = model.layers[len(TRANSPOSED) :]
    graph = import_program(export_model(model, (x[:1].float(),)))
    values = evaluate_float(graph, {"x": x})
    with torch.no_grad():
        wanted = model.double()(x)
    for name, one in zip(graph.outputs, wanted, strict=True):
        assert values[name].shape == one.shape
        assert torch.allclose(values[name], one, atol=1e-6), name
    # Not one product is by a zero between pixels: 2x2 phases of 2x2, not of 4x4, taps.
    if size == (5, 4):
        kernels = [op.weight.shape[2:] for op in graph.ops if "layers.1." in op.name]
        assert kernels == [(2, 2)] * 4


def test_what_follows_goes_into_the_phases() -> None:
    up = nn.Sequential(nn.ConvTranspose2d(3, 5, 3, 2), nn.BatchNorm2d(5), nn.ReLU6())
    graph = import_program(export_model(up.eval(), (torch.zeros(1, 3, 4, 4),)))
    *phases, joined = graph.ops
    assert isinstance(joined, Interleave)
    assert len(phases) == 4
    assert all(isinstance(op, FloatConv) and (op.low, op.high) == (0, 6) for op in phases)


def test_windows_give_the_outputs_of_their_phase_alone() -> None:
    random = np.random.default_rng(20261121)
    for _ in range(300):
        size, step, start = (int(n) for n in random.integers((2, 1, -4), (9, 4, 4)))
        offsets = tuple(range(start, start + step * int(random.integers(1, 4)), step))
        count = int(random.integers(1, size + 3))
        phase = Phase(origin=0, step=1, count=count, taps=tuple((o, 1.0) for o in offsets))
        axis = axis_of(phase, size)
        extent = (axis.kernel - 1) * axis.dilation + 1
        assert min(axis.before, axis.after) >= 0
        assert size + axis.before + axis.after - extent + 1 == count
        got = tuple(place * axis.dilation - axis.before for place in axis.positions)
        assert got == offsets


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Upsample(size=(6, 8), mode="bilinear"), r"resizes \(4, 4\) to \(6, 8\); resize by a"),
        (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "aligns corners"),
        (nn.Upsample(scale_factor=2, mode="bicubic"), "has no counterpart"),
    ],
)
def test_other_resizes_are_refused(layer: nn.Module, message: str) -> None:
    with pytest.raises(CelosiaError, match=message):
        import_program(export_model(layer, (torch.zeros(1, 3, 4, 4),)))

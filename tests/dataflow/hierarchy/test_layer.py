"""Layers: sizes, and what is refused."""

import itertools

import pytest

from celosia.dataflow.hierarchy.layer import Dim, Layer, Relevance, Tensor, relevance
from celosia.models.errors import CelosiaError


def test_sizes_of_a_strided_layer():
    layer = Layer.parse("64,128,28,28,3,3,2")
    assert str(layer) == "64,128,28,28,3,3,2"
    assert layer.macs == 64 * 128 * 28 * 28 * 9
    assert [layer.words(tensor) for tensor in Tensor] == [64 * 57 * 57, 64 * 128 * 9, 128 * 784]
    assert Layer.gemm(3, 5, 7) == Layer.parse("5,7,3,1,1,1,1")


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_touched_rows_are_those_that_windows_meet(stride):
    layer = Layer(c=1, k=1, p=6, q=1, r=4, s=1, stride=stride)
    for outputs, window in itertools.product(range(1, 7), range(1, 5)):
        rows = {p * stride + r for p in range(outputs) for r in range(window)}
        assert layer.input_touched(outputs, window) == len(rows)
        assert layer.input_extent(outputs, window) == max(rows) + 1


def test_every_loop_moves_two_tensors():
    for dim in Dim:
        moved = [t for t in Tensor if relevance(t, dim) is not Relevance.NONE]
        assert len(moved) == 2


@pytest.mark.parametrize(
    "text",
    ["1,2,3", "1,2,3,4,5,6,x", "0,1,1,1,1,1,1", "1,1,1,1,1,1,-1", "", f"{1 << 51},1,1,1,1,1,1"],
)
def test_layers_that_are_none_are_refused(text):
    with pytest.raises(CelosiaError, match="write C,K,P,Q,R,S,stride"):
        Layer.parse(text)


def test_too_few_sizes_are_counted():
    with pytest.raises(CelosiaError, match="it has 6 numbers"):
        Layer.parse("1,1,1,1,1,1")


def test_a_stride_whose_inputs_are_too_many_is_refused():
    """Products are few: what is too large is the box that the windows lie in."""
    side = 1 << 25
    assert Layer.parse(f"1,1,2,2,1,1,{side - 1}").words(Tensor.INPUT) == side**2
    with pytest.raises(CelosiaError, match=r"words of inputs, not \d+: take a smaller stride"):
        Layer.parse(f"1,1,2,2,1,1,{side}")

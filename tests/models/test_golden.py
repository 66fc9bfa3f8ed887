"""The golden model against a plain loop over the definition, and against onnxruntime."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed, Format, Pot, Sp2
from celosia.models.golden import convolve, evaluate, max_pool
from celosia.models.network import Concat, Conv, MaxPool, Network, Requant, Rounding, Window
from celosia.models.operations import DISTANCE, MULTIPLY, Kind, Operation, shift
from celosia.models.random_network import random_inputs, random_network
from celosia.models.requantise import requantise, shift_round

FORMATS = (Sp2(bits=4), Fixed(bits=4), Fixed(bits=8))


def constants(rows: int) -> Requant:
    zeros = np.zeros(rows, dtype=np.int64)
    return Requant(
        bias=zeros, positive=zeros, negative=zeros, residual=zeros, shift=zeros, low=0, high=0
    )


def loop_term(operation: Operation, w: int, a: int) -> int:
    """One term, by the definition."""
    match operation.kind:
        case Kind.DISTANCE:
            return a - w if a < w else w - a
        case Kind.SHIFT:
            floor = abs(w) * a // (1 << operation.dropped)
            return -floor if w < 0 else floor
        case Kind.MULTIPLY:
            return w * a


def loop_conv(op: Conv, x: np.ndarray) -> np.ndarray:
    """One sample, (C, H, W), by the definition."""
    window = op.window
    height, width = window.output_size(*x.shape[1:])
    rows, per_group, kernel_y, kernel_x = op.weights.shape
    result = np.zeros((rows, height, width), dtype=object)
    for o in range(rows):
        first = o // (rows // op.groups) * per_group
        for oy in range(height):
            for ox in range(width):
                total = 0
                for i in range(per_group):
                    for fy in range(kernel_y):
                        y = oy * window.stride[0] - window.padding[0] + fy * window.dilation[0]
                        for fx in range(kernel_x):
                            col = ox * window.stride[1] - window.padding[1]
                            col += fx * window.dilation[1]
                            inside = 0 <= y < x.shape[1] and 0 <= col < x.shape[2]
                            a = int(x[first + i, y, col]) if inside else 0
                            total += loop_term(op.operation, int(op.weights[o, i, fy, fx]), a)
                result[o, oy, ox] = total
    return result


def loop_round(value: int, shift: int, rounding: Rounding) -> int:
    """Round value / 2**shift with integers of any size."""
    whole, rest = divmod(value, 1 << shift)
    twice = 2 * rest
    if twice > 1 << shift or (
        twice == 1 << shift and (rounding is Rounding.HALF_UP or whole % 2 == 1)
    ):
        whole += 1
    return whole


def loop_requant(requant: Requant, acc: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
    result = np.zeros(acc.shape, dtype=np.int64)
    for place in np.ndindex(acc.shape):
        o = place[0]
        v = int(acc[place]) + int(requant.bias[o])
        p = v * int(requant.negative[o] if v < 0 else requant.positive[o])
        if residual is not None:
            p += int(residual[place]) * int(requant.residual[o])
        y = loop_round(p, int(requant.shift[o]), requant.rounding)
        result[place] = min(max(y, requant.low), requant.high)
    return result


def loop_pool(op: MaxPool, x: np.ndarray) -> np.ndarray:
    window = op.window
    result = np.zeros((len(x), *window.output_size(*x.shape[1:])), dtype=np.int64)
    for c, oy, ox in np.ndindex(result.shape):
        seen = []
        for fy, fx in np.ndindex(window.kernel):
            y = oy * window.stride[0] - window.padding[0] + fy * window.dilation[0]
            col = ox * window.stride[1] - window.padding[1] + fx * window.dilation[1]
            if 0 <= y < x.shape[1] and 0 <= col < x.shape[2]:
                seen.append(int(x[c, y, col]))
        result[c, oy, ox] = max(seen)
    return result


def loop_network(network: Network, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    values = dict(inputs)
    for op in network.ops:
        if isinstance(op, Conv):
            residual = None if op.residual is None else values[op.residual]
            values[op.output] = loop_requant(op.requant, loop_conv(op, values[op.input]), residual)
        elif isinstance(op, MaxPool):
            values[op.output] = loop_pool(op, values[op.input])
        else:
            assert isinstance(op, Concat)
            values[op.output] = np.concatenate([values[name] for name in op.inputs])
    return values


@pytest.mark.parametrize(
    ("formats", "operations"),
    [(FORMATS, (MULTIPLY,)), ((*FORMATS, Pot(bits=5)), (MULTIPLY, DISTANCE, shift(6), shift(13)))],
    ids=["multiply", "all"],
)
def test_random_networks_match_the_loops(
    formats: tuple[Format, ...], operations: tuple[Operation, ...]
) -> None:
    checked = 0
    for seed in range(400):
        network = random_network(seed, formats, 8 if seed % 2 else 4, operations=operations)
        if network.macs > 2_000:
            continue
        codes = random_inputs(network, 1, seed)
        expected = loop_network(network, {name: value[0] for name, value in codes.items()})
        for name, value in evaluate(network, codes).items():
            assert value.dtype == np.int64
            assert (value[0] == expected[name]).all(), f"seed {seed}, tensor {name}"
        checked += 1
        if checked == 20:
            break
    assert checked == 20


def test_distances_do_not_depend_on_how_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by a few rows at a time."""
    network = random_network(0, (Fixed(bits=8),), operations=(DISTANCE,))
    codes = random_inputs(network, 2, 0)
    whole = evaluate(network, codes)
    monkeypatch.setattr("celosia.models.distances.SPREAD", 1)
    for name, value in evaluate(network, codes).items():
        assert (value == whole[name]).all()


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(
    "window",
    [
        Window(kernel=(3, 2), stride=(2, 3), dilation=(2, 1), padding=(0, 1, 3, 2)),
        Window(kernel=(1, 1), stride=(4, 3)),
        Window(kernel=(7, 5), padding=(3, 2, 3, 2)),
    ],
)
def test_convolve_matches_the_loops(groups: int, window: Window) -> None:
    random = np.random.default_rng(1)
    weights = random.integers(-128, 128, (6, 6 // groups, *window.kernel))
    op = Conv(
        name="conv",
        input="x",
        output="y",
        window=window,
        groups=groups,
        weights=weights,
        formats=(Fixed(bits=8),) * 6,
        requant=constants(6),
    )
    x = random.integers(-128, 128, (2, 6, 7, 9))
    got = convolve(op, x, Fixed(bits=8))
    for sample in range(2):
        assert (got[sample] == loop_conv(op, x[sample])).all()


def test_convolve_matches_onnxruntime() -> None:
    random = np.random.default_rng(2)
    weights = random.integers(-128, 128, (4, 3, 3, 5))
    window = Window(kernel=(3, 5), stride=(2, 1), dilation=(1, 2), padding=(1, 0, 2, 3))
    op = Conv(
        name="conv",
        input="x",
        output="y",
        window=window,
        groups=1,
        weights=weights,
        formats=(Fixed(bits=8),) * 4,
        requant=constants(4),
    )
    x = random.integers(0, 256, (2, 3, 10, 12))
    node = helper.make_node(
        "ConvInteger",
        ["x", "w"],
        ["y"],
        kernel_shape=window.kernel,
        strides=window.stride,
        dilations=window.dilation,
        pads=window.padding,
    )
    graph = helper.make_graph(
        [node],
        "conv",
        [
            helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape),
            helper.make_tensor_value_info("w", TensorProto.UINT8, weights.shape),
        ],
        [helper.make_tensor_value_info("y", TensorProto.INT32, (2, 4, 6, 7))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    # The runtime has unsigned weights only: add 128 and take off 128 times the window's sum.
    shifted, ones = (weights + 128).astype(np.uint8), np.ones(weights.shape, dtype=np.uint8)
    feed = x.astype(np.uint8)
    expected = session.run(None, {"x": feed, "w": shifted})[0].astype(np.int64)
    expected -= 128 * session.run(None, {"x": feed, "w": ones})[0].astype(np.int64)
    assert (convolve(op, x, Fixed(bits=8, signed=False)) == expected).all()


@pytest.mark.parametrize("rounding", list(Rounding))
def test_shift_round(rounding: Rounding) -> None:
    random = np.random.default_rng(3)
    values = np.concatenate([np.arange(-40, 41), random.integers(-(2**61), 2**61, 200)])
    for bits in (0, 1, 2, 3, 17, 46, 47):
        got = shift_round(values, np.int64(bits), rounding)
        expected = [loop_round(int(value), bits, rounding) for value in values]
        assert got.tolist() == expected


def test_requantise_extremes() -> None:
    most, limit = (1 << 17) - 1, (1 << 43) - 1
    requant = Requant(
        bias=np.array([1, 0, -5]),
        positive=np.array([most, most, 3]),
        negative=np.array([-most - 1, 7, 0]),
        residual=np.array([most, -most, 1]),
        shift=np.array([47, 0, 1]),
        low=-128,
        high=127,
        rounding=Rounding.HALF_UP,
    )
    acc = np.array([limit - 1, -limit, 3]).reshape(1, 3, 1)
    codes = np.array([-128, 255, 5]).reshape(1, 3, 1)
    got = requantise(acc, requant, codes)
    assert (got[0] == loop_requant(requant, acc[0], codes[0])).all()


def test_requantise_wrong() -> None:
    with pytest.raises(ValueError, match="2 channels on axis 1"):
        requantise(np.zeros((1, 3), dtype=np.int64), constants(2))
    with pytest.raises(ValueError, match="residual codes must have shape"):
        requantise(np.zeros((1, 2), dtype=np.int64), constants(2), np.zeros((1, 3), dtype=np.int64))


def test_max_pool_padding_never_wins() -> None:
    pool = MaxPool(
        name="pool",
        input="x",
        output="y",
        window=Window(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
    )
    x = np.full((1, 1, 3, 3), -7)
    assert (max_pool(pool, x) == -7).all()


def test_evaluate_wrong_inputs() -> None:
    network = random_network(1, FORMATS)
    codes = random_inputs(network, 2, 0)
    name = network.inputs[0]
    tensor = network.tensor(name)
    cases = [
        ({}, "are missing"),
        ({**codes, "other": codes[name]}, "has no input 'other'"),
        ({**codes, name: codes[name].astype(float)}, "must be integers, not float64"),
        ({**codes, name: codes[name][0]}, "must have shape"),
        ({**codes, name: codes[name][:0]}, "N at least 1"),
        ({**codes, name: codes[name] + 300}, f"must lie in {tensor.format.low}"),
    ]
    for inputs, message in cases:
        with pytest.raises(CelosiaError, match=message):
            evaluate(network, inputs)


def test_evaluate_wrong_sample_counts() -> None:
    network = next(
        candidate
        for candidate in (random_network(seed, FORMATS) for seed in range(100))
        if len(candidate.inputs) == 2
    )
    codes = random_inputs(network, 2, 0)
    codes[network.inputs[0]] = codes[network.inputs[0]][:1]
    with pytest.raises(CelosiaError, match="same number of samples"):
        evaluate(network, codes)


def test_random_network_is_deterministic_and_alive() -> None:
    seen = set()
    for seed in range(60):
        network = random_network(seed, FORMATS)
        values = evaluate(network, random_inputs(network, 4, seed))
        for op in network.ops:
            seen.add(type(op))
            if isinstance(op, Conv):
                seen.update({("residual", op.residual is not None), ("grouped", op.groups > 1)})
                seen.add(("dilated", max(op.window.dilation) > 1))
                seen.add(("skips", min(op.window.stride) > max(op.window.kernel)))
        seen.add(("one pixel", network.tensor(network.inputs[0]).shape[1:] == (1, 1)))
        seen.add(("one channel", any(t.shape[0] == 1 for t in network.tensors)))
        assert math.isfinite(sum(float(v.var()) for v in values.values()))
    assert {Conv, MaxPool, Concat} <= seen
    for what in ("residual", "grouped", "dilated", "skips", "one pixel", "one channel"):
        assert (what, True) in seen


@pytest.mark.parametrize(("formats", "bits"), [((), 8), (FORMATS, 1), (FORMATS, 9)])
def test_random_network_wrong(formats: tuple, bits: int) -> None:
    with pytest.raises(ValueError, match=r"formats must have|activation_bits must be"):
        random_network(0, formats, bits)


def test_random_network_operations_wrong() -> None:
    with pytest.raises(ValueError, match="operations must have at least one entry"):
        random_network(0, FORMATS, operations=())
    with pytest.raises(ValueError, match="formats must have one for operation shift_3"):
        random_network(0, FORMATS, operations=(MULTIPLY, shift(3)))

"""Every promise that the values of a network make in their docstrings."""

from dataclasses import replace

import numpy as np
import pytest

from celosia.models.bounds import accumulator_bits, accumulator_bound, accumulator_range
from celosia.models.formats import Fixed, Sp2
from celosia.models.network import Concat, Conv, MaxPool, Network, Requant, Tensor, Window
from celosia.models.operations import DISTANCE, shift

U8 = Fixed(bits=8, signed=False)
S8 = Fixed(bits=8)


def requant(rows: int, **fields: object) -> Requant:
    zeros = np.zeros(rows, dtype=np.int64)
    values = {
        "bias": zeros,
        "positive": zeros + 1,
        "negative": zeros + 1,
        "residual": zeros,
        "shift": zeros + 4,
        "low": 0,
        "high": 255,
    }
    return Requant(**{**values, **fields})


def conv(rows: int = 2, channels: int = 3, **fields: object) -> Conv:
    values = {
        "name": "conv",
        "input": "x",
        "output": "y",
        "window": Window(kernel=(3, 3), padding=(1, 1, 1, 1)),
        "groups": 1,
        "weights": np.ones((rows, channels, 3, 3), dtype=np.int64),
        "formats": (Fixed(bits=4),) * rows,
        "requant": requant(rows),
    }
    return Conv(**{**values, **fields})


def tensor(name: str, shape: tuple[int, int, int] = (3, 4, 5), **fields: object) -> Tensor:
    return Tensor(**{"name": name, "shape": shape, "format": U8, "scale": 0.5, **fields})


def network(**fields: object) -> Network:
    values = {
        "name": "net",
        "tensors": (tensor("x"), tensor("y", (2, 4, 5))),
        "inputs": ("x",),
        "outputs": ("y",),
        "ops": (conv(),),
    }
    return Network(**{**values, **fields})


def test_network_is_accepted() -> None:
    assert network().tensor("y").shape == (2, 4, 5)
    with pytest.raises(KeyError):
        network().tensor("z")


def test_products_counts_useful_only() -> None:
    assert network().macs == 2 * 27 * 20
    assert network(ops=(conv(useful=False),)).macs == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "tensor name must be a non-empty string"),
        ({"shape": (3, 4)}, "shape must be"),
        ({"shape": (3, 0, 1)}, "shape must be"),
        ({"shape": (3, 1.5, 1)}, "shape must be"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"scale": float("nan")}, "scale must be positive"),
        ({"scale": float("inf")}, "scale must be positive"),
    ],
)
def test_tensor_wrong(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tensor(**{"name": "x", **fields})


def test_tensor_format_wrong_kind() -> None:
    with pytest.raises(TypeError, match="format must be Fixed"):
        tensor("x", format=Sp2(bits=4))


@pytest.mark.parametrize(
    "fields",
    [
        {"kernel": (0, 1)},
        {"stride": (0, 1)},
        {"dilation": (1, 0)},
        {"padding": (0, -1, 0, 0)},
    ],
)
def test_window_wrong(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="window must have positive"):
        Window(**{"kernel": (1, 1), **fields})


@pytest.mark.parametrize("fields", [{"padding": (0, 0)}, {"kernel": (1, 2, 3)}, {"stride": [1, 1]}])
def test_window_wrong_kind(fields: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=f"window {next(iter(fields))} must be"):
        Window(**{"kernel": (1, 1), **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positive": np.array([1 << 17, 0])}, r"positive\[0\] must be in -131072..131071"),
        ({"negative": np.array([0, -(1 << 17) - 1])}, r"negative\[1\]"),
        ({"residual": np.array([0, 1 << 17])}, r"residual\[1\]"),
        ({"shift": np.array([0, 48])}, r"shift\[1\] must be in 0..47, not 48"),
        ({"shift": np.array([-1, 0])}, r"shift\[0\]"),
        ({"bias": np.array([0, 1 << 43])}, r"bias\[1\]"),
        ({"bias": np.zeros(3, dtype=np.int64)}, "must have 3 entries like bias"),
        ({"shift": np.zeros((2, 1), dtype=np.int64)}, "must have 1 dimensions"),
        ({"low": 2, "high": 1}, "low must be an integer at most high"),
        ({"low": 0.5}, "low must be an integer"),
    ],
)
def test_requant_wrong(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        requant(2, **fields)


def test_requant_wrong_kind() -> None:
    with pytest.raises(TypeError, match="bias must be an int64 array, not dtype"):
        requant(2, bias=np.zeros(2))
    with pytest.raises(TypeError, match="rounding must be a Rounding"):
        requant(2, rounding=0)


def test_arrays_are_copies_and_read_only() -> None:
    weights = np.ones((2, 3, 3, 3), dtype=np.int64)
    op = conv(weights=weights)
    weights[:] = 5
    assert (op.weights == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        op.weights[0] = 2
    with pytest.raises(ValueError, match="read-only"):
        op.requant.bias[0] = 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "operation name"),
        ({"weights": np.ones((2, 3, 3, 2), dtype=np.int64)}, "do not have the window's kernel"),
        ({"weights": np.ones((2, 3, 3), dtype=np.int64)}, "4 dimensions"),
        ({"weights": np.full((2, 3, 3, 3), 8)}, "weight 8 of row 0 is not a value of fixed4"),
        ({"formats": (Fixed(bits=4), Sp2(bits=4)), "weights": np.full((2, 3, 3, 3), 3)}, "sp2_4"),
        ({"groups": 0}, "groups must be a positive divisor"),
        ({"groups": 3}, "groups must be a positive divisor of 2"),
        ({"formats": (Fixed(bits=4),)}, "formats must have 2 entries"),
        ({"requant": requant(3)}, "requant must have 2 entries"),
        ({"requant": requant(2, residual=np.array([1, 0]))}, "no residual operand"),
        (
            {"operation": DISTANCE, "weights": np.full((2, 3, 3, 3), -8)},
            "conv 'conv': row 0: a distance cannot have the weight -8 of fixed4",
        ),
        (
            {"operation": DISTANCE, "formats": (Fixed(bits=4), Sp2(bits=4))},
            "row 1: a distance needs signed fixed-point weights",
        ),
        ({"operation": shift(2)}, "row 0: a shift needs weights that are powers of two"),
    ],
)
def test_conv_wrong(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conv(**fields)


def test_conv_wrong_kind() -> None:
    with pytest.raises(TypeError, match="weights must be an int64 array"):
        conv(weights=np.ones((2, 3, 3, 3)))
    with pytest.raises(TypeError, match="operation must be an Operation, not 'distance'"):
        conv(operation="distance")
    with pytest.raises(TypeError, match=r"formats\[1\] must be a Format"):
        conv(formats=(Fixed(bits=4), "fixed4"))


def test_concat_wrong() -> None:
    for inputs in ((), ("a", "a")):
        with pytest.raises(ValueError, match="different tensors"):
            Concat(name="cat", inputs=inputs, output="y")


HUGE = conv(weights=np.full((2, 3, 3, 3), 1), requant=requant(2, bias=np.full(2, (1 << 43) - 1)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "network name"),
        ({"inputs": ()}, "must have an input and an output"),
        ({"outputs": ()}, "must have an input and an output"),
        ({"inputs": ("z",)}, "no tensor is called 'z'"),
        ({"outputs": ("z",)}, "no tensor is called 'z'"),
        ({"outputs": ("y", "y")}, "output 'y' appears 2 times"),
        ({"outputs": ("x",)}, "output 'x' must be written by an operation"),
        ({"inputs": ("x", "y")}, "writes 'y', which has a value"),
        ({"tensors": (tensor("x"), tensor("x"))}, "tensor 'x' appears 2 times"),
        ({"tensors": (tensor("x"), tensor("y", (2, 4, 5)), tensor("z"))}, "tensor 'z' is no input"),
        ({"ops": (conv(), conv())}, "operation 'conv' appears 2 times"),
        ({"ops": (conv(), conv(name="other"))}, "'other' writes 'y', which has a value"),
        ({"ops": (conv(input="q"),)}, "no tensor is called 'q'"),
        ({"ops": (conv(input="y"),)}, "reads 'y' before it is written"),
        ({"ops": (conv(channels=4),)}, "weights are for 4 input channels, 'x' has 3"),
        ({"ops": (conv(window=Window(kernel=(3, 3))),)}, "must have shape"),
        ({"ops": (conv(window=Window(kernel=(3, 3), dilation=(9, 9))),)}, "more than its padded"),
        ({"ops": (conv(residual="x"),)}, "residual 'x' must have the output's shape"),
        ({"ops": (conv(requant=requant(2, high=256)),)}, "clamp 0..256 must lie in ufixed8"),
        ({"ops": (conv(requant=requant(2, low=-1)),)}, "clamp -1..255"),
        ({"ops": (HUGE,)}, "accumulator of 45 bits, more than 44"),
    ],
)
def test_network_wrong(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**fields)


def pooled(window: Window, **fields: object) -> Network:
    pool = MaxPool(name="pool", input="y", output="z", window=window)
    target = tensor("z", **{"shape": (2, *window.output_size(4, 5)), **fields})
    return network(
        tensors=(tensor("x"), tensor("y", (2, 4, 5)), target), outputs=("z",), ops=(conv(), pool)
    )


def test_pool_wrong() -> None:
    window = Window(kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 1))
    assert pooled(window).outputs == ("z",)
    with pytest.raises(ValueError, match="must have shape"):
        pooled(window, shape=(3, 2, 3))
    with pytest.raises(ValueError, match="same format and scale"):
        pooled(window, scale=0.25)
    with pytest.raises(ValueError, match="same format and scale"):
        pooled(window, format=S8)
    with pytest.raises(ValueError, match="nothing but padding"):
        pooled(Window(kernel=(2, 2), padding=(2, 0, 0, 0)))
    with pytest.raises(ValueError, match="nothing but padding"):
        pooled(Window(kernel=(1, 2), dilation=(1, 6), padding=(0, 3, 0, 3)))


def joined(*members: str, **fields: object) -> Network:
    second = conv(name="second", output="z")
    cat = Concat(name="cat", inputs=members, output="joint")
    target = tensor("joint", **{"shape": (4, 4, 5), **fields})
    return network(
        tensors=(tensor("x"), tensor("y", (2, 4, 5)), tensor("z", (2, 4, 5)), target),
        outputs=("joint",),
        ops=(conv(), second, cat),
    )


def test_concat_in_network_wrong() -> None:
    assert joined("y", "z").outputs == ("joint",)
    with pytest.raises(ValueError, match="must have 4 channels"):
        joined("y", "z", shape=(5, 4, 5))
    with pytest.raises(ValueError, match="must have the output's size"):
        joined("y", "z", shape=(4, 4, 4))
    with pytest.raises(ValueError, match="same format and scale"):
        joined("y", "z", scale=1.0)
    with pytest.raises(ValueError, match="written by a convolution or pooling"):
        joined("y", "x", shape=(5, 4, 5))
    good = joined("y", "z")
    again = Concat(name="again", inputs=("z",), output="more")
    with pytest.raises(ValueError, match="member of another concat"):
        replace(
            good,
            tensors=(*good.tensors, tensor("more", (2, 4, 5))),
            ops=(*good.ops, again),
        )


def test_accumulator_bound() -> None:
    weights = np.array([[1, -2], [3, 0]]).reshape(2, 2, 1, 1)
    op = conv(
        window=Window(kernel=(1, 1)),
        weights=weights,
        requant=requant(2, bias=np.array([10, -1000])),
    )
    low, high = accumulator_range(op, U8)
    assert low.tolist() == [-510, 0]
    assert high.tolist() == [255, 765]
    assert accumulator_bound(op, U8).tolist() == [510, 1000]
    assert accumulator_bound(op, S8).tolist() == [127 + 256 + 10, 1384]
    assert accumulator_bits(op, S8) == 12

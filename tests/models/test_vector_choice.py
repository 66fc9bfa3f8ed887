"""Which layers take scales of vectors, and what is said of the others."""

import itertools

import numpy as np
import pytest

from celosia.models.errors import CelosiaError
from celosia.models.graph import FloatConv, FloatGraph
from celosia.models.network import Concat, Conv, MaxPool, Window
from celosia.models.operations import DISTANCE
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe, parse_blocks, parse_elements, parse_mix
from celosia.models.vector_choice import activation_obstacle, check_vectors, weight_obstacle


def conv(name: str, source: str, channels: int, rows: int, **fields: object) -> FloatConv:
    values = {
        "name": name, "input": source, "output": f"{name}.out", "window": Window(kernel=(1, 1)),
        "groups": 1, "weight": np.ones((rows, channels, 1, 1)), "bias": np.zeros(rows),
    }  # fmt: skip
    return FloatConv(**{**values, **fields})


def chain(*channels: int) -> FloatGraph:
    """Layers in a row: each but the last of ``channels`` is what one reads."""
    ops = tuple(
        conv(f"c{n}", f"c{n - 1}.out" if n else "x", *pair)
        for n, pair in enumerate(itertools.pairwise(channels))
    )
    return FloatGraph(
        name="graph", inputs={"x": (channels[0], 2, 2)}, outputs=(ops[-1].output,), ops=ops
    )


@pytest.mark.parametrize("channels", [(1, 16), (3, 15, 16, 2), (16, 32, 48, 5), (2, 64, 10)])
def test_whole_and_short_vectors_are_taken(channels: tuple[int, ...]) -> None:
    """Of 1 and 3 channels, as first layers have, of fewer than a vector, and of more."""
    graph = chain(*channels)
    check_vectors(graph, Recipe(blocks=parse_blocks("uint4:16")))
    for op in graph.ops:
        assert isinstance(op, FloatConv)
        assert weight_obstacle(graph, op, parse_blocks("uint4:16")) == ""


@pytest.mark.parametrize(
    ("channels", "vector", "message"),
    [
        ((3, 32, 4), 24, "do not divide its 32 input channels: vectors of 4, 8, 16, 32 or more fi"),
        ((3, 28, 48, 64, 2), 16, "its 28 input channels: vectors of 4, 64 or more fit every layer"),
        ((3, 17, 4), 16, "its 17 input channels: vectors of 17 or more fit every layer of this"),
        ((3, 33, 67, 4), 32, "its 33 input channels: no vector of 4 to 64 fits every layer"),
    ],
)
def test_vectors_that_do_not_divide_the_channels_wrong(
    channels: tuple[int, ...], vector: int, message: str
) -> None:
    blocks = parse_blocks(f"uint4:{vector}")
    with pytest.raises(CelosiaError, match=f"layer 'c1': vectors of {vector} .*{message}"):
        check_vectors(chain(*channels), Recipe(blocks=blocks))
    check_vectors(chain(*channels), Recipe(blocks=blocks, uneven_vectors=True))


def test_groups() -> None:
    """Depthwise layers have a scale a row; groups of more channels are refused as layers are."""
    blocks = parse_blocks("uint4:16")
    for count, obstacle in ((1, "groups of 1 channels are no whole vectors of 16"), (16, "")):
        op = conv("c", "x", count, 2, groups=2)
        graph = FloatGraph(name="g", inputs={"x": (2 * count, 1, 1)}, outputs=("c.out",), ops=(op,))
        check_vectors(graph, Recipe(blocks=blocks))
        assert weight_obstacle(graph, op, blocks) == obstacle
    op = conv("c", "x", 24, 2, groups=2)
    graph = FloatGraph(name="g", inputs={"x": (48, 1, 1)}, outputs=("c.out",), ops=(op,))
    with pytest.raises(CelosiaError, match="layer 'c': vectors of 16 do not divide its 24 input"):
        check_vectors(graph, Recipe(blocks=blocks))


def test_what_is_said_of_others() -> None:
    left, right = conv("left", "x", 3, 12), conv("right", "x", 3, 4, high=6.0)
    join = Concat(name="join", inputs=("left.out", "right.out"), output="j")
    last = conv("last", "j", 16, 2)
    graph = FloatGraph(
        name="g", inputs={"x": (3, 1, 1)}, outputs=("last.out",), ops=(left, right, join, last)
    )
    blocks = parse_blocks("uint4:16")
    why = "the 12 channels of 'left.out', a member of a concat, are no whole vectors of 16"
    assert weight_obstacle(graph, last, blocks) == why
    for names, said in (
        (["x"], "inputs and outputs of the network"),
        (["last.out"], "inputs and outputs of the network"),
        (["right.out", "j"], "'right.out' is clipped at a number other than 0"),
        (["left.out", "j"], why),
        (["left.out"], ""),
    ):
        assert activation_obstacle(graph, names, False, 16) == said


def test_distances_read_one_scale() -> None:
    """What they read keeps one scale, and so does what shares its grid."""
    first, last = conv("c", "x", 3, 16), conv("d", "p", 16, 4, distance=True)
    pool = MaxPool(name="pool", input="c.out", output="p", window=Window(kernel=(1, 1)))
    graph = FloatGraph(
        name="g", inputs={"x": (3, 1, 1)}, outputs=("d.out",), ops=(first, pool, last)
    )
    blocks = parse_blocks("uint4:16")
    assert weight_obstacle(graph, last, blocks) == "no products of trained weights"
    assert activation_obstacle(graph, ["c.out", "p"], False, 16) == "a layer of distances reads 'p'"
    assert activation_obstacle(graph, ["c.out"], False, 16) == ""
    recipe = Recipe(weights=parse_mix("fixed4"), blocks=blocks, elements=parse_elements("ufixed4"))
    network = quantize(graph, np.random.default_rng(4).normal(size=(8, 3, 1, 1)), recipe)
    assert network.tensor("p").scaling is None
    *_, distances = network.ops
    assert isinstance(distances, Conv)
    assert distances.operation == DISTANCE

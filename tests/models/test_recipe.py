"""Recipes: mixes in words and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celosia.models.find_scales import ScaleMethod
from celosia.models.formats import BlockScaling, Fixed, IntScale, Pot, Sp2, parse_format
from celosia.models.recipe import (
    Assignment,
    Recipe,
    Share,
    msq,
    parse_blocks,
    parse_elements,
    parse_mix,
)


def test_mixes() -> None:
    shares = parse_mix("pot_4:60/26, fixed4:35%,fixed8:5")
    assert [(s.format, s.ratio, s.granule) for s in shares] == [
        (Pot(bits=4), 0.6, 26),
        (Fixed(bits=4), 0.35, 1),
        (Fixed(bits=8), 0.05, 1),
    ]
    assert parse_mix("sp2_4") == msq(4, 1.0) == (Share(format=Sp2(bits=4), ratio=1.0),)
    assert parse_mix("sp2_4:60,fixed4:40") == msq()
    scaling = BlockScaling(scale=IntScale(bits=4), vector=16)
    assert parse_blocks("uint4:16") == scaling
    assert parse_blocks("uint4:16/6") == replace(scaling, product_bits=6)
    assert parse_elements("esb4_1") == parse_format("esb4_1")


def test_words() -> None:
    recipe = Recipe(weights=parse_mix("pot_4:60,fixed4:40"), blocks=parse_blocks("uint4:16"))
    assert recipe.text == (
        "rows of each layer: 60 % pot_4, 40 % fixed4, a uint4 scale for 16 weights; "
        "activations of 8 bits"
    )


def test_which_formats_are_precise() -> None:
    assert Recipe(weights=parse_mix("pot_4:60,fixed4:35,fixed8:5")).precise == {Fixed(bits=8)}
    assert not Recipe().precise


MIX = parse_mix("pot_4:60,fixed4:40")


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"weights": ()}, ValueError, r"weights must be a tuple of shares, not \(\)"),
        ({"weights": ("fixed4",)}, TypeError, "weights must hold Share values, not 'fixed4'"),
        ({"weights": MIX[:1]}, ValueError, "add up to 100 %, not 60 %: pot_4 60 %"),
        ({"weights": MIX + MIX}, ValueError, "name each format once, not pot_4, fixed4, pot_4"),
        ({"activation_bits": 0}, ValueError, r"activation_bits must be in 1\.\.16, not 0"),
        ({"activation_bits": 17}, ValueError, r"activation_bits must be in 1\.\.16, not 17"),
        ({"activation_bits": None}, ValueError, r"activation_bits must be in 1\.\.16, not None"),
        ({"output_bits": 17}, ValueError, r"output_bits must be in 1\.\.16, not 17"),
        ({"percentile": 0}, ValueError, "percentile must be above 0 and at most 100, not 0"),
        ({"assignment": "variance"}, TypeError, "assignment must be an Assignment"),
        ({"scale": "mse"}, TypeError, "scale must be a ScaleMethod, not 'mse'"),
        ({"activation_scale": 1}, TypeError, "activation_scale must be a ScaleMethod, not 1"),
        ({"rounding": 0}, TypeError, "rounding must be a Rounding, not 0"),
        ({"blocks": 16}, TypeError, "blocks must be a BlockScaling or None, not 16"),
        (
            {"uneven_vectors": True},
            ValueError,
            "uneven_vectors need blocks, such as uint4:16: there are none",
        ),
        (
            {"weights": MIX, "assignment": Assignment.HESSIAN},
            ValueError,
            "hessian needs weights of different bits, such as fixed4 and fixed8",
        ),
    ],
)
def test_recipe_wrong(fields: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Recipe(**fields)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"format": "fixed4"}, TypeError, "format must be the Format of a weight, not 'fixed4'"),
        ({"format": IntScale(bits=4)}, TypeError, "format must be the Format of a weight"),
        ({"format": parse_format("ufixed4")}, ValueError, "weights of both signs.*ufixed4 does"),
        ({"format": parse_format("fixed1")}, ValueError, "weights of both signs.*fixed1 does"),
        ({"ratio": 0}, ValueError, "ratio of fixed4 must be above 0 and at most 1, not 0"),
        ({"ratio": 1.5}, ValueError, r"at most 1, not 1\.5"),
        ({"ratio": "1"}, ValueError, "at most 1, not '1'"),
        ({"granule": 0}, ValueError, "granule of fixed4 must be a positive integer, not 0"),
    ],
)
def test_share_wrong(fields: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Share(**{"format": Fixed(bits=4), "ratio": 1.0, **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pot_4:60;fixed4:40", "weights 'pot_4:60;fixed4:40' are not understood: write format:per"),
        ("", "weights '' are not understood"),
        ("pot_4:60,nonsense:40", "unknown format 'nonsense': known are"),
        ("pot_9", "2 to 5 bits, not 9"),
    ],
)
def test_mix_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_mix(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("uint4", "blocks 'uint4' are not understood: write scale:vector"),
        ("uint4:x", "blocks 'uint4:x' are not understood"),
        ("uint4:16/", "blocks 'uint4:16/' are not understood"),
        ("uint4:16/9", r"product_bits must be in 1\.\.8, not 9"),
        ("e8m0_4:16/6", "only products of integer scales are rounded"),
        ("uint9:16", "1 to 8 bits, not 9"),
        ("uint4:2", "vector must be in"),
    ],
)
def test_blocks_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_blocks(text)


def test_simple_mix_wrong() -> None:
    with pytest.raises(ValueError, match=r"sp2_ratio must be in 0\.\.1, not 1\.5"):
        msq(4, 1.5)


def test_methods_have_names() -> None:
    assert [method.value for method in ScaleMethod] == ["max", "percentile", "mse", "octav", "dda"]


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"elements": parse_format("fixed9")}, ValueError, "must have 2 to 8 bits, not fixed9"),
        ({"elements": parse_format("fixed1")}, ValueError, "must have 2 to 8 bits, not fixed1"),
        ({"elements": parse_format("uesb3_2")}, ValueError, "1 to 4 exponent bits: of 3 bits"),
        ({"elements": parse_format("sp2_4")}, TypeError, "fixed-point or esb format, not sp2_4"),
        ({"elements": 4}, TypeError, "fixed-point or esb format, not 4"),
        (
            {"elements": parse_format("esb4_1"), "blocks": None},
            ValueError,
            "elements need blocks, such as uint4:16, for their scales: there are none for esb4_1",
        ),
        (
            {"elements": parse_format("fixed8"), "blocks": parse_blocks("e8m0_5:16")},
            ValueError,
            r"must stay below 2\*\*24: fixed8 with e8m0_5 do not",
        ),
    ],
)
def test_elements_wrong(fields: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Recipe(**{"blocks": parse_blocks("uint4:16"), **fields})


def test_elements_are_in_the_text() -> None:
    recipe = Recipe(blocks=parse_blocks("uint4:16"), elements=parse_elements("ufixed4"))
    assert recipe.text.endswith("between layers ufixed4 with scales like those")


def test_elements_of_another_kind_wrong() -> None:
    with pytest.raises(ValueError, match="elements must be of a fixed-point or esb format, not"):
        parse_elements("pot_4")

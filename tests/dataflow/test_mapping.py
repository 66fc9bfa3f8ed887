from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from celosia.dataflow.mapping import (
    OUTPUT_STATIONARY_ARRAY,
    WEIGHT_STATIONARY_ARRAY,
    Buffering,
    Dimension,
    LayerMapping,
    Mapping,
    TileLoop,
    dump_mapping,
    load_mapping,
    parse_mapping,
    save_mapping,
    tiled,
)
from celosia.models.errors import CelosiaError

K, C, OY, N = Dimension.K, Dimension.C, Dimension.OY, Dimension.N
LAYER = LayerMapping()
OTHER = tiled(
    ((N, 2), (K, 8), (OY, 5), (N, 1), (K, 1), (C, 3)),
    WEIGHT_STATIONARY_ARRAY,
    Buffering(weights=1, outputs=2),
)
MAPPING = Mapping(layers=(("a", LAYER), ("b/input", replace(OTHER, resident=True))), samples=4)


def test_file_form_is_lossless(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "m.json"
    save_mapping(MAPPING, path)
    assert load_mapping(path) == MAPPING
    assert path.read_text() == dump_mapping(MAPPING)


def test_replaced() -> None:
    changed = MAPPING.replaced("a", OTHER)
    assert changed.layer("a") == OTHER
    assert changed.layer("b/input") == replace(OTHER, resident=True)
    assert changed.samples == 4
    with pytest.raises(KeyError):
        MAPPING.replaced("c", OTHER)
    with pytest.raises(KeyError):
        MAPPING.layer("c")


def test_the_innermost_step_is_the_tile() -> None:
    assert OTHER.step(K, 30) == 1
    assert OTHER.step(OY, 30) == 5
    assert OTHER.step(OY, 3) == 3
    assert OTHER.step(Dimension.OX, 30) == 30


@pytest.mark.parametrize("value", [0, 65536])
def test_step_wrong(value: int) -> None:
    with pytest.raises(ValueError, match=rf"step must be in 1\.\.65535, not {value}"):
        TileLoop(dimension=K, step=value)


def test_types_wrong() -> None:
    with pytest.raises(TypeError, match=r"step must be an integer, not 1\.5"):
        TileLoop(dimension=K, step=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dimension must be a Dimension, not 'K'"):
        TileLoop(dimension="K", step=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="loops must hold TileLoop values, not 3"):
        LayerMapping(loops=(3,))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="resident must be a bool, not 2"):
        LayerMapping(resident=2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="buffering must be a Buffering, not 2"):
        LayerMapping(buffering=2)  # type: ignore[arg-type]


def test_loops_wrong() -> None:
    with pytest.raises(ValueError, match="loops over K must have decreasing steps, not 2 and then"):
        tiled(((K, 2), (OY, 1), (K, 2)))
    with pytest.raises(ValueError, match="loops over N must end with step 1, not 2"):
        tiled(((N, 2),))


def test_array_wrong() -> None:
    with pytest.raises(ValueError, match="array must name each of K, C, OY, OX, FY, FX once"):
        LayerMapping(array=OUTPUT_STATIONARY_ARRAY[1:])


@pytest.mark.parametrize("value", [0, 33])
def test_buffering_wrong(value: int) -> None:
    with pytest.raises(ValueError, match=rf"buffering.weights must be in 1\.\.32, not {value}"):
        Buffering(weights=value)


def test_samples_wrong() -> None:
    with pytest.raises(ValueError, match=r"samples must be in 1\.\.256, not 0"):
        Mapping(layers=(), samples=0)


def test_twice_wrong() -> None:
    with pytest.raises(ValueError, match="layers must name each step once"):
        Mapping(layers=(("a", LAYER), ("a", OTHER)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "must be an object with the keys 'samples' and 'layers'"),
        ('{"samples": 1, "layers": 3}', "layers must be an object of layers by name"),
        ('{"samples": 0, "layers": {}}', "samples must be in 1"),
        ('{"samples": 1, "layers": {"a": {"loops": []}}}', "'a' must have the keys loops, array"),
        (dump_mapping(MAPPING).replace('"OY"', '"x"'), "layer 'a': 'x' is not"),
        (dump_mapping(MAPPING).replace('"weights"', '"x"'), "layer 'b/input': .*unexpected"),
    ],
)
def test_parse_wrong(text: str, message: str) -> None:
    with pytest.raises(CelosiaError, match=f"m.json: .*{message}"):
        parse_mapping(text, "m.json")


def test_missing_file_wrong(tmp_path: Path) -> None:
    with pytest.raises(CelosiaError, match="cannot read mapping file"):
        load_mapping(tmp_path / "none.json")

from __future__ import annotations

from pathlib import Path

import pytest

from celosia.dataflow.mapping import (
    LayerMapping,
    Mapping,
    MemoryOrder,
    Stationary,
    dump_mapping,
    load_mapping,
    parse_mapping,
    save_mapping,
)
from celosia.models.errors import CelosiaError

LAYER = LayerMapping(rows=1, columns=2, words=3, kernel_rows=4)
OTHER = LayerMapping(
    rows=5, columns=6, words=1, kernel_rows=1,
    order=MemoryOrder.WEIGHTS_OUTER, stationary=Stationary.WEIGHT,
)  # fmt: skip
MAPPING = Mapping(layers=(("a", LAYER), ("b/input", OTHER)))


def test_file_form_is_lossless(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "m.json"
    save_mapping(MAPPING, path)
    assert load_mapping(path) == MAPPING
    assert path.read_text() == dump_mapping(MAPPING)


def test_replaced() -> None:
    changed = MAPPING.replaced("a", OTHER)
    assert changed.layer("a") == OTHER
    assert changed.layer("b/input") == OTHER
    with pytest.raises(KeyError):
        MAPPING.replaced("c", OTHER)
    with pytest.raises(KeyError):
        MAPPING.layer("c")


@pytest.mark.parametrize("field", ["rows", "columns", "words", "kernel_rows"])
def test_layer_wrong(field: str) -> None:
    good = {"rows": 1, "columns": 1, "words": 1, "kernel_rows": 1}
    for value in (0, 65536):
        with pytest.raises(ValueError, match=rf"{field} must be in 1\.\.65535, not {value}"):
            LayerMapping(**{**good, field: value})
    with pytest.raises(TypeError, match=rf"{field} must be an integer, not 1\.5"):
        LayerMapping(**{**good, field: 1.5})  # type: ignore[arg-type]


def test_enums_wrong() -> None:
    with pytest.raises(TypeError, match="order must be a MemoryOrder, not 'x'"):
        LayerMapping(rows=1, columns=1, words=1, kernel_rows=1, order="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="stationary must be a Stationary, not 3"):
        LayerMapping(rows=1, columns=1, words=1, kernel_rows=1, stationary=3)  # type: ignore[arg-type]


def test_twice_wrong() -> None:
    with pytest.raises(ValueError, match="layers must name each step once"):
        Mapping(layers=(("a", LAYER), ("a", OTHER)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON file"),
        ("[]", "must be an object with the one key 'layers'"),
        ('{"layers": 3}', "layers must be an object of layers by name"),
        ('{"layers": {"a": {"rows": 1}}}', "layer 'a' must have the keys rows, columns"),
        (dump_mapping(MAPPING).replace("weights-outer", "x"), "layer 'b/input': 'x' is not"),
        (dump_mapping(MAPPING).replace('"rows": 5', '"rows": 0'), "rows must be in 1"),
    ],
)
def test_parse_wrong(text: str, message: str) -> None:
    with pytest.raises(CelosiaError, match=f"m.json: .*{message}"):
        parse_mapping(text, "m.json")


def test_missing_file_wrong(tmp_path: Path) -> None:
    with pytest.raises(CelosiaError, match="cannot read mapping file"):
        load_mapping(tmp_path / "none.json")

"""Mappings: what is refused, stores lifted and trimmed, files."""

import json
import random

import pytest

from celosia.dataflow.hierarchy.layer import Dim, Layer, Tensor
from celosia.dataflow.hierarchy.mapping import Loop, Mapping, Store, check_mapping, occupancy
from celosia.dataflow.hierarchy.mapping_file import mapping_data, mapping_text, read_mapping
from celosia.dataflow.hierarchy.price import price
from celosia.models.errors import CelosiaError

from .architectures import deep, small
from .walk import random_layer, random_mapping

SEED = 20261123


def loop(dim, tile, axis=None):
    return Loop(dim=Dim(dim), tile=tile, axis=axis)


def store(tensor, level):
    return Store(tensor=Tensor(tensor), level=level)


STORES = (store("I", "glb"), store("W", "glb"), store("O", "acc"), store("W", "reg"))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (STORES[:3], "W must be stored in glb, reg in this order, not in glb"),
        ((*STORES, loop("K", 2)), "loops over K end with tiles of 2, must be 1"),
        ((*STORES, loop("P", 9)), "the tile 9 of a loop over P is larger than the 4 around it"),
        ((loop("P", 1, "columns"), *STORES), "axis 'columns' spreads K, not P"),
        ((*STORES, loop("P", 1, "depth")), "there is no axis 'depth': axes are columns, rows"),
        (
            (*STORES[:3], loop("K", 1, "columns"), STORES[3], loop("P", 1)),
            "the store of O in 'acc' is copied by axis 'columns' and must lie below its loops",
        ),
        (
            (loop("K", 1, "columns"), *STORES, loop("P", 1)),
            "axis 'columns' has 2 places, the mapping needs 3: 1 too many",
        ),
    ],
)
def test_what_does_not_fit_is_named(steps, said):
    with pytest.raises(ValueError, match=said):
        check_mapping(small(), Layer.gemm(4, 1, 3), Mapping(steps=tuple(steps)))


def test_loops_need_positive_tiles():
    with pytest.raises(ValueError, match="a loop over P needs a positive tile, not 0"):
        loop("P", 0)


def test_lifting_never_costs_and_keeps_the_loops():
    rng = random.Random(SEED)
    tried = 0
    while tried < 60:
        architecture, layer = rng.choice((small(10**6, 10**6), deep())), random_layer(rng)
        mapping = random_mapping(rng, architecture, layer)
        lifted = mapping.lifted()
        try:
            before, after = (price(architecture, layer, m) for m in (mapping, lifted))
        except ValueError:
            continue
        tried += 1
        what = f"seed {SEED}: {layer} {mapping}"
        assert set(lifted.steps) == set(mapping.steps)
        for old, new in zip(before.accesses, after.accesses, strict=True):
            assert new.reads <= old.reads, what
            assert new.writes <= old.writes, what
        assert price(architecture, layer, mapping.trimmed(layer)) == before


def test_an_accumulator_is_lifted_with_its_columns():
    mapping = Mapping(
        steps=(loop("C", 1), store("I", "glb"), loop("K", 1, "columns"), store("O", "acc"))
    )
    kept = (loop("K", 1, "columns"), store("O", "acc"), loop("C", 1), store("I", "glb"))
    assert mapping.lifted().steps == kept


def test_a_sliding_tile_holds_one_window():
    layer = Layer.parse("1,1,4,1,3,1,1")
    steps = (store("I", "glb"), loop("P", 1), loop("R", 1), *STORES[1:])
    assert occupancy(small(), layer, Mapping(steps=steps))["glb"] == 3 + 1
    whole = small(accounting="[accounting]\nslides = false")
    assert occupancy(whole, layer, Mapping(steps=steps))["glb"] == 6 + 1


def test_files_are_read_back(tmp_path):
    mapping = Mapping(steps=(*STORES, loop("P", 2), loop("K", 1, "columns"), loop("P", 1)))
    data = mapping_data(mapping)
    for content in (data, {"mapping": data}):
        (tmp_path / "map.json").write_text(json.dumps(content))
        assert read_mapping(tmp_path / "map.json") == mapping


def test_nests_are_written_for_people():
    layer = Layer.gemm(5, 1, 2)
    mapping = Mapping(steps=(store("I", "glb"), loop("P", 2), loop("K", 1, "columns")))
    lines = mapping_text(layer, mapping).splitlines()
    assert [line.strip() for line in lines] == [
        "[I in glb]", "for P in 3  (tiles of 2, the last 1)", "on columns K in 2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a JSON file"),
        ("[]", "the file must be a table"),
        ('{"nest": []}', "unknown key nest"),
        ('{"steps": {}}', "steps must be a list of tables"),
        ('{"steps": [{"loop": "Z", "tile": 1}]}', r"steps\[0\]: 'Z' is not a valid Dim"),
        ('{"steps": [{"loop": "P", "tile": "1"}]}', r"steps\[0\]: a loop over P needs a positive"),
        ('{"steps": [{"store": "X", "level": "glb"}]}', "'X' is not a valid Tensor"),
        ('{"steps": [{"loop": "P"}]}', r"key steps\[0\].tile is missing"),
    ],
)
def test_files_that_hold_no_mapping_are_refused(tmp_path, text, said):
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(CelosiaError, match=said):
        read_mapping(path)

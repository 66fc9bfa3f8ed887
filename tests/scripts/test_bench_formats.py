"""The comparison of formats: its registry, its engines, a row from end to end, what it refuses."""

import json

import numpy as np
import pytest

from celosia.models.errors import CelosiaError
from celosia.models.recipe import parse_mix
from celosia.models.zoo import DigitsNet, ImageData, Workload
from celosia.scripts import bench_formats as module
from celosia.scripts.bench_formats import Accuracy, Area, accelerator, bench_formats
from celosia.scripts.format_schemes import SCHEMES, Scheme
from celosia.scripts.report import read_formats


def test_registry():
    names = [scheme.name for scheme in SCHEMES]
    assert len(set(names)) == len(names)
    plain = next(scheme for scheme in SCHEMES if scheme.name == "MSQ W4A4")
    for dsp_allowed in (False, True):
        cases = plain.cases(dsp_allowed=dsp_allowed)
        assert [case and case.pe for case in cases] == ["sp2", "fixed"]
        assert all(case and case.dsp_allowed is dsp_allowed for case in cases)


@pytest.mark.parametrize("dsp_allowed", [False, True])
def test_every_element_is_in_the_table(dsp_allowed):
    for scheme in SCHEMES:
        cases = scheme.cases(dsp_allowed=dsp_allowed)
        assert [case and case.pe for case in cases] == list(scheme.elements)


def test_elements_fit_the_recipe():
    with pytest.raises(ValueError, match="elements of x must be one for each of its 1 formats"):
        Scheme(name="x", recipe=SCHEMES[0].recipe, elements=("fixed", "sp2"))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.name)
def test_engines(scheme):
    array = accelerator(scheme.recipe).array
    assert array.column_count == 16
    assert {group.format for group in array.columns} == {
        share.format for share in scheme.recipe.weights
    }
    assert array.scaling == scheme.recipe.blocks


def test_shares_of_columns():
    counts = [group.count for group in accelerator(SCHEMES[-4].recipe).array.columns]
    assert SCHEMES[-4].recipe.weights == parse_mix("pot_4:60,fixed4:35,fixed8:5")
    assert counts == [10, 5, 1]


def test_mean_and_spread():
    assert Accuracy.of([0.5, 0.75, 1.0]) == Accuracy(mean=0.75, spread=0.5)


@pytest.fixture
def little(monkeypatch, tmp_path):
    """A workload of a few random images, and no synthesis."""
    rng = np.random.default_rng(1)
    images = rng.uniform(size=(24, 1, 8, 8)).astype(np.float32)
    labels = np.arange(24, dtype=np.int64) % 10
    made = []

    def little(seed: int) -> Workload:
        made.append(seed)
        return ImageData(images=images, labels=labels).workload("little", DigitsNet())

    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "WORKLOADS", {"little": little})
    monkeypatch.setattr(module, "EPOCHS", {"little": 1})
    monkeypatch.setattr(module, "area", lambda scheme: Area(lut_only=1.0, lut=None, dsp=None))
    return made


def test_a_row_is_made_once(little):
    told = []

    def report(what, done, total):
        told.append((what, done, total))

    (row,) = bench_formats(["little"], ["SP2"], report)
    assert told == [("little, SP2 W4A4", 0, 1)]
    assert little == [0, 1, 2]
    value = json.loads(json.dumps(row.as_dict()))
    assert value["format"] == "SP2 W4A4"
    assert value["bits_per_weight"] == 4
    assert value["cycles"] > 0
    assert 0 <= value["qat_mean"] <= 1
    assert value["lut_only_per_product"] == 1.0
    assert value["dsp_per_product"] is None
    (again,) = bench_formats(["little"], ["SP2"], report)
    assert again == row
    assert little == [0, 1, 2]


def test_what_is_unknown(little):
    with pytest.raises(CelosiaError, match="unknown workload 'x': known are little"):
        bench_formats(["x"], [], print)
    with pytest.raises(CelosiaError, match="no format's name holds 'nonsense'"):
        bench_formats(["little"], ["nonsense"], print)


def test_kept_table_has_rows_of_the_registry():
    rows = read_formats()
    assert {row["format"] for row in rows} <= {scheme.name for scheme in SCHEMES}


def test_tables_that_are_none(tmp_path):
    file = tmp_path / "formats.json"
    with pytest.raises(CelosiaError, match="bench formats --json"):
        read_formats(file)
    for text, message in (("{", "damaged"), ("{}", "no table of formats"), ("[1]", "no table")):
        file.write_text(text)
        with pytest.raises(CelosiaError, match=message):
            read_formats(file)

"""The comparison of formats: its registry, its engines, a row from end to end, what it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import DDR4
from celosia.dataflow.timing import timing
from celosia.models.blueprint import Blueprint, Stage
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed, Pot
from celosia.models.gradients import Gradient
from celosia.models.network import Conv
from celosia.models.operations import DISTANCE, MULTIPLY
from celosia.models.random_network import random_network
from celosia.models.recipe import parse_mix
from celosia.models.zoo import ImageData
from celosia.rtl.pe.unit import SignStyle
from celosia.scripts import bench_formats as module
from celosia.scripts import format_cycles, format_training
from celosia.scripts.bench_formats import Accuracy, Area, FormatRow, Learnt, bench_formats
from celosia.scripts.cli import run_command
from celosia.scripts.format_cycles import column_shares, cycles, engine
from celosia.scripts.format_schemes import SCHEMES, Scheme
from celosia.scripts.format_table import HEADERS, markdown, table_cells
from celosia.scripts.format_training import SUBJECTS, WIDTHS, Epochs, Layers, Subject, learn
from celosia.scripts.pe_case import PeCase
from celosia.scripts.report import read_formats

FIXED = random_network(1, (Fixed(bits=4),))


def small_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def scheme(name: str) -> Scheme:
    (found,) = (scheme for scheme in SCHEMES if scheme.name == name)
    return found


def test_registry() -> None:
    names = [scheme.name for scheme in SCHEMES]
    assert len(set(names)) == len(names)
    assert len({repr((scheme.task, scheme.circuit)) for scheme in SCHEMES}) == len(names)


@pytest.mark.parametrize("dsp_allowed", [False, True])
def test_every_element_is_in_the_table(dsp_allowed: bool) -> None:
    for some in SCHEMES:
        columns = [(share.format, MULTIPLY) for share in some.recipe.weights]
        if "distance" in some.elements:
            columns.append((Fixed(bits=8), DISTANCE))
        for column in columns:
            cases = some.cases(column, dsp_allowed=dsp_allowed)
            assert cases, some.name
            assert {case.pe for case in cases} <= set(some.elements.values())
            if not dsp_allowed:
                assert [(case.dsp_allowed, case.sign_style) for case in cases] == [
                    (False, SignStyle.CARRY)
                ]


def test_no_element() -> None:
    assert scheme("SP2 W4A4").cases((Pot(bits=4), MULTIPLY), dsp_allowed=False) == ()


def test_cycles_of_a_product() -> None:
    fixed = Fixed(bits=4), MULTIPLY
    assert scheme("fixed W4A4").product_cycles(fixed) == 1
    for bits, steps in ((4, 4), (5, 12), (6, 12), (7, 16), (8, 16)):
        some = scheme(f"2-in-1 W{bits}A{bits}")
        assert some.product_cycles((Fixed(bits=bits), MULTIPLY)) == steps


@pytest.mark.parametrize("some", SCHEMES, ids=lambda scheme: scheme.name)
def test_engines(some: Scheme) -> None:
    array = engine(some.recipe, FIXED, some.circuit).array
    wide = some.recipe.elements is not None and array.lanes == 32
    assert array.products == (1024 if wide else 256)
    assert array.scaling == some.recipe.blocks
    assert array.elements == some.recipe.elements
    if some.circuit is Circuit.LANES:
        formats = {share.format for share in some.recipe.weights}
        assert {group.format for group in array.columns} == formats


def test_shares_of_columns() -> None:
    rmsmp = scheme("RMSMP")
    assert rmsmp.recipe.weights == parse_mix("pot_4:60,fixed4:35,fixed8:5")
    array = engine(rmsmp.recipe, FIXED, rmsmp.circuit).array
    assert [group.count for group in array.columns] == [10, 5, 1]


def test_columns_of_distances_are_as_many_as_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = Fixed(bits=8)
    network = random_network(2, (fixed,), operations=(MULTIPLY, DISTANCE))
    shares = column_shares(network)
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {(fixed, MULTIPLY), (fixed, DISTANCE)}

    def distance_columns(accelerator: Accelerator) -> int:
        return sum(g.count for g in accelerator.array.columns if g.operation == DISTANCE)

    monkeypatch.setattr(
        format_cycles, "cycles", lambda network, split: abs(distance_columns(split) - 10)
    )
    chosen = engine(scheme("AdderNet W8A8").recipe, network, Circuit.LANES)
    assert (distance_columns(chosen), chosen.array.column_count) == (10, 16)


def test_area_is_that_of_the_columns_of_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    def amount(case: PeCase) -> SimpleNamespace:
        naive = case.sign_style is SignStyle.NAIVE
        return SimpleNamespace(lut_raw_per_lane=8.0 if naive else 10.0, dsp_per_lane=float(naive))

    monkeypatch.setattr(module, "measure", amount)
    assert module.area(scheme("fixed W4A4"), FIXED) == Area(lut_only=10.0, lut=8.0, dsp=1.0)
    assert module.area(scheme("2-in-1 W4A4"), FIXED) == Area(lut_only=40.0, lut=40.0, dsp=0.0)
    assert module.area(scheme("SP2 W4A4"), FIXED) == Area(lut_only=None, lut=None, dsp=None)


def test_cycles_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    some = scheme("fixed W4A4")
    target = engine(some.recipe, FIXED, some.circuit)
    expected = timing(compile_network(FIXED, target), DDR4).cycles
    assert cycles(FIXED, target) == expected
    monkeypatch.setattr(format_cycles, "compile_network", None)
    assert cycles(FIXED, target) == expected


def test_mean_and_spread() -> None:
    assert Accuracy.of([0.5, 0.75, 1.0]) == Accuracy(mean=0.75, spread=0.5)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch, tmp_path) -> list[str]:
    """A workload of a few random images, and no synthesis; the list tells what is trained."""
    rng = np.random.default_rng(1)
    images = rng.uniform(size=(72, 1, 8, 8)).astype(np.float32)
    data = ImageData(images=images, labels=np.arange(72, dtype=np.int64) % 10)
    made: list[str] = []

    def train(seed: int):
        made.append(f"products {seed}")
        return data.workload("little", small_net())

    def told(name: str, function):
        def train(*arguments, **named):
            made.append(name)
            return function(*arguments, **named)

        return train

    for name in ("adder_workload", "shift_add_workload", "train_switchable"):
        function = told(name, getattr(format_training, name))
        function.__module__ = getattr(format_training, name).__module__
        monkeypatch.setattr(format_training, name, function)
    subject = Subject(
        train=train,
        network=small_net,
        data=lambda: data,
        blueprint=Blueprint(
            shape=(1, 8, 8),
            stages=(Stage(channels=4, pool=True), Stage(channels=4, pool=True)),
            classes=10,
        ),
        epochs=Epochs(tuning=1, slow_tuning=1, distances=1, shifts=1, switched=1),
    )
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    for where in (module, format_training):
        monkeypatch.setattr(where, "SUBJECTS", {"little": subject})
    monkeypatch.setattr(
        module, "area", lambda scheme, network: Area(lut_only=1.0, lut=None, dsp=None)
    )
    monkeypatch.setattr(module, "cycles", lambda network, target: 1234)
    return made


def test_a_row_is_made_once(little: list[str]) -> None:
    told = []

    def report(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    (row,) = bench_formats(["little"], ["sp2", "A4"], report)
    assert told == [(f"little, SP2 W4A4, seed {seed}", seed, 3) for seed in range(3)]
    assert little == ["products 0", "products 1", "products 2"]
    value = json.loads(json.dumps(row.as_dict()))
    assert value["format"] == "SP2 W4A4"
    assert value["bits_per_weight"] == 4
    assert value["cycles"] == 1234
    assert 0 <= value["qat_mean"] <= 1
    assert value["lut_only_per_product"] == 1.0
    assert value["dsp_per_product"] is None
    (again,) = bench_formats(["little"], ["SP2 W4A4"], report)
    assert again == row
    assert len(little) == 3


@pytest.mark.parametrize(
    ("name", "layers", "kind"),
    [
        ("AdderNet W8A8", Layers.DISTANCES, "adder_workload"),
        ("ShiftAddNet W5A8", Layers.SHIFTS, "shift_add_workload"),
    ],
)
def test_networks_of_other_layers(little: list[str], name: str, layers: Layers, kind: str) -> None:
    some = scheme(name)
    assert some.task.layers is layers
    outcome = learn(some.task, "little", 0)
    kinds = {(fmt.name, op.operation) for op in outcome.network.ops if isinstance(op, Conv)
             for fmt in op.formats}  # fmt: skip
    assert ("fixed8", DISTANCE) in kinds
    assert learn(some.task, "little", 0).tuned == outcome.tuned
    other = replace(some.task, weight_gradient=Gradient.PIECEWISE_LINEAR)
    learn(other, "little", 0)
    assert little == [kind]  # fine-tuned twice, trained once


def test_widths_share_a_network(little: list[str]) -> None:
    networks = [
        learn(scheme(f"2-in-1 W{bits}A{bits}").task, "little", 0).network for bits in WIDTHS
    ]
    assert little == ["train_switchable"] * 2
    for bits, network in zip(WIDTHS, networks, strict=True):
        assert network.tensor("input").format.bits == bits


def test_what_is_unknown(little: list[str]) -> None:
    for wrong in (["x"], [], ["little", "little"]):
        with pytest.raises(CelosiaError, match="name each once, separated by commas, of little"):
            bench_formats(wrong, [], print)
    with pytest.raises(CelosiaError, match="no format's name holds 'nonsense'"):
        bench_formats(["little"], ["nonsense"], print)


def test_command(little: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "formats", "esb(4,1)", "--networks", "little"]
    assert run_command([*arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["format"] == "ESB(4,1) = FP4, A4"
    assert run_command([*arguments, "--markdown"]) == 0
    assert capsys.readouterr().out == markdown([row])
    assert run_command(arguments) == 0
    assert "ESB(4,1)" in capsys.readouterr().out
    assert run_command(["bench", "formats", "--networks", "nonsense"]) == 1
    assert "networks 'nonsense' are not understood" in capsys.readouterr().err


def test_table_in_words() -> None:
    row = {
        "format": "x", "workload": "w", "float_mean": 0.99, "float_spread": 0.01,
        "ptq_mean": 0.5, "ptq_spread": 0.0, "qat_mean": 1.0, "qat_spread": 0.0,
        "seeds": 3, "bits_per_weight": 4.25, "cycles": 12345, "products_per_cycle": 256,
        "lut_only_per_product": 20.04, "lut_per_product": None, "dsp_per_product": None,
    }  # fmt: skip
    cells = table_cells(row)
    assert cells == (
        "x", "99.00 (1.00)", "50.00 (0.00)", "100.00 (0.00)", "4.25", "20.0", "-", "12,345 at 256",
    )  # fmt: skip
    assert len(cells) == len(HEADERS)
    assert markdown([row, row | {"workload": "v"}]).startswith("**w**\n\n| format | float % |")


def test_kept_table_is_whole_and_the_documentation_shows_it() -> None:
    rows = read_formats()
    wanted = [(some.name, name) for name in SUBJECTS for some in SCHEMES]
    assert [(row["format"], row["workload"]) for row in rows] == wanted
    accuracy = Accuracy(mean=0.0, spread=0.0)
    learnt = Learnt(
        accuracy_float=accuracy, accuracy_ptq=accuracy, accuracy_qat=accuracy,
        bits_per_weight=1.0, cycles=1, products_per_cycle=1,
    )  # fmt: skip
    area = Area(lut_only=None, lut=None, dsp=None)
    fields = FormatRow(scheme="", workload="", learnt=learnt, area=area).as_dict()
    for row in rows:
        assert list(row) == list(fields)
        assert all(value is not None for value in row.values())
        assert row["seeds"] == 3
    document = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    assert markdown(rows) in document.read_text(encoding="utf-8")


def test_tables_that_are_none(tmp_path) -> None:
    file = tmp_path / "formats.json"
    with pytest.raises(CelosiaError, match="bench formats --json"):
        read_formats(file)
    for text, message in (("{", "damaged"), ("{}", "no table of formats"), ("[1]", "no table")):
        file.write_text(text)
        with pytest.raises(CelosiaError, match=message):
            read_formats(file)

"""``celosia bench search``: the fields, and the gates on one core."""

import json
from dataclasses import replace

import pytest

from celosia.dataflow.hierarchy.layer import Layer
from celosia.models.formats import parse_format
from celosia.models.random_network import random_network
from celosia.scripts import bench_network, bench_search
from celosia.scripts.bench_search import batch_rate, layers, rates
from celosia.scripts.cli import run_command

FIELDS = {"layer", "objective", "energy_pj", "cycles", "cpu_seconds", "lower_bound", "proven"}


def small_network():
    return random_network(1, tuple(parse_format(name) for name in ("fixed4", "sp2_4", "fixed8")))


def silent(what, done, total):
    del what, done, total


def test_layers_are_solved_and_never_worse_than_what_is_known():
    for row in layers(silent, ("l2d", "l4d", "fc"))["layers"]:
        assert row.keys() >= FIELDS
        assert row["proven"]
        assert row["gap"] == 0
        assert row["lower_bound"] == row["value"] <= row["best_known"] * (1 + 1e-7)


def test_every_field_is_there(monkeypatch, capsys):
    monkeypatch.setattr(bench_search, "GEMM", Layer.gemm(48, 48, 48))
    monkeypatch.setattr(bench_search, "CONV", Layer.parse("4,4,4,4,3,3,1"))
    monkeypatch.setattr(bench_search, "_SECONDS", 0.02)
    monkeypatch.setattr(bench_search, "RESNET18", {"fc": bench_search.RESNET18["fc"]})
    monkeypatch.setattr(bench_search.layers, "__defaults__", (("fc",),))
    monkeypatch.setattr(bench_network, "_network", small_network)
    monkeypatch.setattr(bench_network, "_PRESET", "tiny")
    monkeypatch.setattr(bench_network, "_SECONDS", 0.02)
    for arguments in (["--json"], []):
        assert run_command(["bench", "search", "--accelerators", "3", *arguments]) == 0
        said = capsys.readouterr().out
        if arguments:
            value = json.loads(said)
            assert value["layers"]
            assert value["resnet18_seconds"] > 0
            assert value["sweep_seconds"] > 0
            assert value["layer_pricing_us"] > 0
            assert value["sweep_accelerators"] == 3
            for part in ("resnet18", "sweep"):
                assert 0 < value[f"{part}_lower_bound"] < value[f"{part}_cycles"]
            assert min(value[key] for key in value if key.endswith("per_s")) > 0
        else:
            assert "proven" in said


def test_torch_prices_batches(monkeypatch):
    monkeypatch.setattr(bench_search, "_SECONDS", 0.02)
    assert batch_rate(Layer.gemm(48, 48, 48), "cpu") > 0


@pytest.mark.campaign
def test_gates_of_one_core():
    found = rates(silent)
    assert found["gemm_flat_per_s"] >= 10e6
    assert found["gemm_nested_per_s"] >= 100e6
    assert found["conv_per_s"] >= 100e6 / 3
    for row in layers(silent)["layers"]:
        assert row["proven"]
        assert row["cpu_seconds"] < 1
        assert row["value"] <= row["best_known"] * (1 + 1e-7)


def test_drawn_accelerators_differ_and_are_the_same_each_time():
    found = bench_network.draw(small_network(), 40)
    assert len(set(found)) == 40
    assert found == bench_network.draw(small_network(), 40)


def test_what_cannot_run_is_counted_apart(monkeypatch):
    few = bench_network.draw(small_network(), 3)
    tiny = replace(few[0], buffers=replace(few[0].buffers, weights=1, accumulators=1, outputs=1))
    monkeypatch.setattr(bench_network, "draw", lambda _network, _count: [*few, tiny])
    found = bench_network.sweep(small_network(), 4, silent)
    assert found.refused >= 1
    assert found.accelerators == 4

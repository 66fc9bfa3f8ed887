"""The bench of whole networks: what it runs, keeps and says. The runs themselves are campaigns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter
from celosia.models.errors import CelosiaError
from celosia.models.networks.catalogue import NETWORKS, build
from celosia.models.random_network import random_inputs
from celosia.scripts import bench_networks as bench
from celosia.scripts.predict import predict_run
from celosia.scripts.simulate import simulate


def row(case: bench.Case, *, cycles_exact: bool = True) -> bench.NetworkRow:
    layer = bench.LayerRow(
        layer="fc",
        cycles=100,
        share=0.1,
        utilisation=0.05,
        bound="memory reads busy 90 % (90 of 100 cycles)",
        stalls={"none": 5, "bandwidth": 90},
    )
    return bench.NetworkRow(
        network=case.network,
        accelerator=case.accelerator,
        weight_bits=4,
        products_per_cycle=1024,
        products=900_000,
        cycles_predicted=1000,
        cycles_measured=1000,
        utilisation=0.8789,
        tensors=9,
        tensors_compared=9,
        bit_exact=True,
        cycles_exact=cycles_exact,
        map_seconds=1.0,
        sim_seconds=2.0,
        build_seconds=3.0,
        tier_exact=True,
        tier_seconds=1.5,
        weights="random",
        layers=(layer,),
    )


def silent(_what: str, _done: int, _total: int) -> None:
    """Report to nobody."""


def test_every_network_runs_on_a_thousand_products() -> None:
    assert {case.network for case in bench.CASES} == {*NETWORKS, "okay_nabu"}
    for case in bench.CASES:
        assert preset(case.accelerator).products in (1024, 4096, 12288)
    found = bench.find_cases(["resnet18"])
    assert [case.name for case in found] == [
        "resnet18 on dense1k",
        "resnet18 on dense4k",
        "resnet18 on zcu102_w4a4",
    ]
    assert bench.find_cases([]) == bench.CASES


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(CelosiaError, match="no network's name holds 'vgg': there are\nresnet8"):
        bench.find_cases(["resnet18", "vgg"])


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    measured = []

    def measure(case: bench.Case, _report: object) -> bench.NetworkRow:
        if len(measured) == 1:
            raise KeyboardInterrupt
        measured.append(case.name)
        return row(case)

    monkeypatch.setattr(bench, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        bench.bench_networks(["resnet18 on dense"], silent)
    measured.insert(0, "before")
    rows = bench.bench_networks(["resnet18 on dense"], silent)
    # The first was there already, the second was interrupted before.
    assert measured == ["before", "resnet18 on dense1k", "resnet18 on dense4k"]
    assert rows == [row(case) for case in bench.find_cases(["resnet18 on dense"])]


def test_the_tables_say_what_bounds_a_layer() -> None:
    case = bench.CASES[0]
    text = bench.markdown([row(case), row(case, cycles_exact=False)])
    lines = text.splitlines()
    assert lines[2] == (
        f"| {case.network} | {case.accelerator} | 1,024 | 1,000 | 1,000 | 87.9 % | yes, 9 of 9 "
        "| 2.0 | 3.0 | 1.5 | random |"
    )
    assert "| NO, 9 of 9 |" in lines[3]
    assert not replace(row(case), tensors_compared=8).holds
    assert "| memory reads busy 90 % (90 of 100 cycles) | bandwidth 90 |" in lines[7]


def test_networks_have_the_formats_of_the_columns() -> None:
    mixed = bench.recipe(preset("zcu102_w4a4").array)
    shares = {share.format.name: share.ratio for share in mixed.weights}
    assert shares == {"fixed4": 64 / 96, "sp2_4": 32 / 96}
    assert mixed.activation_bits == 4
    plain = bench.recipe(preset("dense1k_w8").array)
    assert [share.format.name for share in plain.weights] == ["fixed8"]
    assert plain.activation_bits == 8


def test_the_model_tier_says_what_the_rtl_does() -> None:
    target = preset("small")
    network = build("ds_cnn", recipe=bench.recipe(target.array))
    inputs = random_inputs(network, 1, 20261121)
    done = simulate(network, target, inputs, DDR4)
    predicted = predict_run(network, target, inputs, DDR4)
    assert bench.agrees(predicted, done)
    name = network.outputs[0]
    wrong = predicted.tensors | {name: predicted.tensors[name] ^ 1}
    assert not bench.agrees(replace(predicted, tensors=wrong), done)
    timing = predicted.timings[0]
    first, second, *others = timing.layers
    moved = (replace(first, cycles=first.cycles + 1), replace(second, cycles=second.cycles - 1))
    later = replace(timing, layers=(*moved, *others))
    assert not bench.agrees(replace(predicted, timings=(later,)), done)
    more = {Counter.READ_BEATS: timing.counters[Counter.READ_BEATS] + 1}
    counted = replace(timing, counters={**timing.counters, **more})
    assert not bench.agrees(replace(predicted, timings=(counted,)), done)

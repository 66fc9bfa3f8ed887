"""``celosia bench area``: what it measures, with synthesis replaced by amounts made up."""

import json
import re
from dataclasses import replace

import pytest

from celosia.dataflow.area import ECP5, MEMORIES, ULTRASCALE_PLUS, load_area_table
from celosia.dataflow.area_blocks import AMOUNTS, Amount, blocks, column_part
from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.presets import preset
from celosia.fpga.devices import ECP5_85K, ZCU102, Resources
from celosia.fpga.yosys import Block, SynthReport, split_modules
from celosia.models.operations import DISTANCE
from celosia.rtl.verilog import write_verilog
from celosia.scripts import bench_area
from celosia.scripts.area_cases import ColumnKind, checks, columns, frames, kinds
from celosia.scripts.area_fit import dump_area_table, fit
from celosia.scripts.area_samples import Sample, column_of, samples
from celosia.scripts.cli import run_command
from celosia.scripts.explore.targets import area_family


def drawn(family, frames_of=frames):
    """Samples that take what the family's table says."""
    rule, table = MEMORIES[family], load_area_table(family)
    parts = [part for engine in frames_of() for part in blocks(engine, rule)]
    return [Sample(part=part, amount=table.amount(part)) for part in parts]


@pytest.mark.parametrize("family", [ULTRASCALE_PLUS, ECP5])
def test_a_table_is_found_again_from_what_it_says(family):
    found = drawn(family)
    made = fit(found, "test")
    for sample in found:
        mine = made.amount(sample.part)
        for name in AMOUNTS:
            assert getattr(mine, name) == pytest.approx(getattr(sample.amount, name), 1e-3, 1), (
                sample.part.kind, name,
            )  # fmt: skip
    assert 'source = "test"' in dump_area_table(made)


def test_what_was_not_measured_is_as_in_the_other_family():
    prior = load_area_table(ULTRASCALE_PLUS)
    found = [
        replace(sample, amount=sample.part.known + replace(sample.amount, lut=2 * (
            sample.amount.lut - sample.part.known.lut), ff=sample.amount.ff - sample.part.known.ff))
        for sample in drawn(ULTRASCALE_PLUS)
        if sample.part.kind not in ("window", "lines")
    ]  # fmt: skip
    made = fit(found, "test", prior)
    for term, factor in prior.factors["window"]["lut"].items():
        assert made.factors["window"]["lut"][term] == pytest.approx(2 * factor, rel=0.1)
    assert made.factors["window"]["ff"] == pytest.approx(prior.factors["window"]["ff"])


TREES = [
    ColumnKind(weights="fixed8", circuit=Circuit.LANES),
    ColumnKind(weights="fixed8", circuit=Circuit.LANES, operation=DISTANCE),
    *(ColumnKind(weights=name, circuit=Circuit.LUTS) for name in (
        "fixed2", "fixed4", "fixed6", "fixed8", "sp2_4", "pot_4", "pot_5",
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    "kind", TREES, ids=lambda k: f"{k.weights}_{k.circuit.value}_{k.operation.name}"
)
@pytest.mark.parametrize("lanes", [4, 16])
def test_registers_of_a_tree_are_those_of_the_rtl(kind, lanes):
    """Some products have a stage of their own, the others do not."""
    engine = columns(kind)[0]
    engine = replace(engine, array=replace(engine.array, lanes=lanes))
    (group,) = engine.array.columns
    part = column_part(engine.array, group, 1, engine, MEMORIES[ULTRASCALE_PLUS])
    registers = re.findall(
        r"^  reg (?:signed )?(?:\[(\d+):0\] )?(?:sum|negative)_\d",
        write_verilog(column_of(engine, 0)),
        re.M,
    )
    assert part.terms["stage"] == sum(int(high or 0) + 1 for high in registers) > 0


def test_engines_differ_in_all_that_areas_depend_on():
    engines = [*checks(Circuit.DSP, 16)]
    seen = {
        "ports": {engine.bus.ports for engine in engines},
        "lanes": {engine.array.lanes for engine in engines},
        "pixels": {engine.array.pixels for engine in engines},
        "columns": {engine.array.column_count for engine in engines},
        "post_lanes": {engine.post_lanes for engine in engines},
        "windows": {engine.array.depthwise is None for engine in engines},
        "tables": {engine.tables is None for engine in engines},
        "banks": {engine.buffers.activation_banks for engine in engines},
        "formats": {group.format.name for engine in engines for group in engine.array.columns},
    }
    assert min(map(len, seen.values())) >= 2, seen
    fitted = {*frames()} | {engine for kind in kinds(Circuit.DSP) for engine in columns(kind)}
    assert not fitted & set(engines)


MODULES = (
    "shell", "sequencer", "read_port", "load", "store", "compute", "post", "array", "tokens",
    *(f"unit_queue_w{width}" for width in (312, 322, 368, 485)),
    *(f"{name}_buffer" for name in (
        "activations", "weights", "constants", "residuals", "outputs",
    )), "requant_32_9", "column_sp2_4_c4_x1", "column_fixed8_c4_x1",
)  # fmt: skip
"""Of the engine ``tiny``."""


def test_every_part_of_an_engine_is_found_in_a_report():
    engine, rule = preset("tiny"), MEMORIES[ULTRASCALE_PLUS]
    one = Resources(lut=100, ff=10)
    found = tuple(Block(name=name, count=1, own=one, inclusive=one) for name in MODULES)
    report = SynthReport(design="engine", device=ZCU102, tool="none", blocks=found)
    by_block = {sample.part.block: sample.amount for sample in samples(engine, report, rule)}
    assert by_block["shell"] == Amount(lut=100, ff=10)
    assert by_block["queues"] == Amount(lut=500, ff=50)  # four queues and the tokens
    assert by_block["post"] == Amount()  # less its lanes
    assert by_block["array"] == Amount(lut=-100, ff=-10)  # less its two columns
    with pytest.raises(ValueError, match="0 modules are called requant"):
        list(samples(engine, replace(report, blocks=found[:-3] + found[-2:]), rule))


def test_blocks_are_put_side_by_side_under_names_of_their_own():
    kind = kinds(Circuit.DSP)[0]
    text = bench_area.together([column_of(engine, 0) for engine in columns(kind)[:2]])
    names = set(split_modules(text))
    assert "everything" in names
    assert len({name.split("_")[1] for name in names - {"everything"}}) == 2


@pytest.mark.parametrize("device", [ZCU102, ECP5_85K], ids=lambda device: device.name)
def test_the_command_shows_model_and_synthesis(device, monkeypatch, capsys):
    family = area_family(device)

    def made(engine, _report, rule):
        parts = blocks(engine, rule)
        return [Sample(part=p, amount=load_area_table(family).amount(p)) for p in parts]

    total = Resources(lut=9000, ff=8000, dsp=7, bram=20)
    whole = Block(name="top", count=1, own=total, inclusive=total)
    report = SynthReport(design="top", device=device, tool="none", blocks=(whole,))
    monkeypatch.setattr(bench_area, "synth", lambda *_: report)
    monkeypatch.setattr(bench_area, "samples", made)
    arguments = ["bench", "area", f"--device={device.name}", "--count=2"]
    assert run_command([*arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    engines = [row for row in rows if row["block"] == "engine"]
    assert [row["held_out"] for row in engines] == [False, True, True]
    assert {row["lut_yosys"] for row in engines} == {9000}
    assert {row["bram36_yosys"] for row in engines} == {20 if device is ZCU102 else 10}
    (shell,) = (r for r in rows if r["accelerator"] == "tiny" and r["block"] == "shell")
    assert shell["lut_model"] == shell["lut_yosys"] > 0
    assert run_command(arguments) == 0
    assert "9,000" in capsys.readouterr().out

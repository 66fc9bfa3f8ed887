"""``celosia bench area``: what it measures, with synthesis replaced by amounts made up."""

import json

import pytest

from celosia.dataflow.area import Amount, estimate_area, load_area_table
from celosia.fpga.devices import ECP5_85K, ZCU102, Resources
from celosia.fpga.yosys import Block, SynthReport, split_modules
from celosia.scripts import bench_area
from celosia.scripts.cli import run_command
from celosia.scripts.explore.targets import area_family


def report(device, total):
    block = Block(name="top", count=1, own=total, inclusive=total)
    return SynthReport(design="top", device=device, tool="none", blocks=(block,))


@pytest.mark.parametrize("device", [ZCU102, ECP5_85K], ids=lambda device: device.name)
def test_a_table_is_found_again_from_what_it_says(device, monkeypatch, tmp_path):
    """Blocks and engines that take what the family's table says give that table."""
    family = area_family(device)
    table = load_area_table(family)
    rule = bench_area.MEMORIES[family]
    _, lut, ff = rule.made(256, 24)

    def blocks(parts, _device):
        found, plain = [], Amount()
        for small, large in bench_area._pairs(device):
            (group,) = small.array.columns
            kind, ratio = table.kind(group, small.activation_bits)
            assert ratio == 1
            for case in (small, large):
                each = kind.product * case.lanes + kind.pixel + Amount(lut=2 * lut, ff=2 * ff)
                found.append(each * case.sums)
            if small.weights == "sp2_4" and small.activation_bits == 8:
                plain = found[-2]
        lane = table.post_lane
        found += [plain + table.sum_bit * 8, lane, lane + table.post_sum_bit * 8]
        assert len(found) == len(parts)
        return found

    def whole(accelerator, _device):
        return report(device, Resources(**estimate_area(accelerator, family)))

    monkeypatch.setattr(bench_area, "synthesised", blocks)
    monkeypatch.setattr(bench_area, "synth", whole)
    made = bench_area.measure(device, lambda *_: None)
    for name in ("control", "bus_bit", "post_lane", "post_sum_bit", "sum_bit"):
        mine, theirs = getattr(made, name), getattr(table, name)
        for amount in ("lut", "ff", "dsp"):
            assert getattr(mine, amount) == pytest.approx(getattr(theirs, amount), abs=0.05), name
    for mine, theirs in zip(made.columns, table.columns, strict=True):
        assert (mine.weights, mine.circuit, mine.bits) == (
            theirs.weights, theirs.circuit, theirs.bits,
        )  # fmt: skip
        assert mine.product.lut == pytest.approx(theirs.product.lut, abs=0.05)


def test_blocks_are_put_side_by_side_under_names_of_their_own():
    cases = [case for pair in bench_area._pairs(ZCU102) for case in pair][:2]
    text = bench_area._together([case.component() for case in cases])
    names = set(split_modules(text))
    assert "everything" in names
    assert len({name.split("_")[1] for name in names - {"everything"}}) == 2


def test_the_command_shows_model_and_synthesis(monkeypatch, capsys):
    total = Resources(lut=9000, ff=8000, dsp=7, bram=20)
    monkeypatch.setattr(bench_area, "synth", lambda _, device: report(device, total))
    assert run_command(["bench", "area", "--device=ecp5-85k", "--count=2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["lut"]["synthesis"] for row in rows] == [9000, 9000]
    assert run_command(["bench", "area", "--device=ecp5-85k", "--count=1"]) == 0
    assert "9,000" in capsys.readouterr().out

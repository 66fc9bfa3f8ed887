"""The timeline's file: what a viewer of Chrome trace events needs, and nothing twice."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.eie.presets import EIE_PRESETS
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter, Program
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.random_network import random_network
from celosia.scripts.trace_events import write_timeline

TINY = preset("tiny")


@pytest.fixture(scope="module")
def program() -> Program:
    formats = tuple(group.format for group in TINY.array.columns)
    return compile_network(random_network(2, formats), TINY)


def test_file_is_complete(program: Program, tmp_path: Path) -> None:
    write_timeline(program, DDR4, tmp_path / "t.json")
    value = json.loads((tmp_path / "t.json").read_text())
    events, expected = value["traceEvents"], timing(program, DDR4)
    names = {
        event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"
    }
    assert set(names.values()) == {
        "layers", "load", "compute", "post", "store", "array waits for",
    }  # fmt: skip
    sums = {}
    for tid, name in names.items():
        slices = [event for event in events if event["ph"] == "X" and event["tid"] == tid]
        assert slices, name
        # On one track no slice may begin before the one before it is over.
        assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in itertools.pairwise(slices)), name
        assert all(event["dur"] > 0 for event in slices)
        sums[name] = sum(event["dur"] for event in slices)
    counters = expected.counters
    assert sums["compute"] == counters[Counter.COMPUTE_STEPS]
    assert sums["post"] == counters[Counter.POST_STEPS]
    assert sums["load"] == counters[Counter.LOAD_BUSY]
    assert sums["store"] == counters[Counter.STORE_BUSY]
    assert sums["compute"] + sums["array waits for"] == expected.cycles
    assert sums["layers"] == sum(layer.cycles for layer in expected.layers)
    assert value["otherData"]["cycles"] == expected.cycles
    in_order: dict[str, int] = {}
    for event in events:
        if event["ph"] == "C":
            assert in_order.get(event["name"], -1) < event["ts"] <= expected.cycles
            in_order[event["name"]] = event["ts"]
    assert {"token load_compute", "loads in flight", "stores in flight"} <= set(in_order)


def test_compressed_file_is_the_same(program: Program, tmp_path: Path) -> None:
    write_timeline(program, DDR4, tmp_path / "t.json")
    write_timeline(program, DDR4, tmp_path / "t.json.gz")
    packed = (tmp_path / "t.json.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "t.json").read_bytes()
    write_timeline(program, DDR4, tmp_path / "again.json.gz")
    assert (tmp_path / "again.json.gz").read_bytes() == packed


def test_other_engines_are_refused(program: Program, tmp_path: Path) -> None:
    class Other:
        accelerator = next(iter(EIE_PRESETS.values()))

    with pytest.raises(CelosiaError, match="has no timeline: only"):
        write_timeline(Other(), DDR4, tmp_path / "t.json")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []

"""Files for other tools: what they say, what other tools made of them, and refusals."""

import dataclasses

import pytest

from celosia.dataflow.hierarchy.architecture_file import read_architecture
from celosia.dataflow.hierarchy.export import Tool, export
from celosia.dataflow.hierarchy.layer import Dim, Layer, Tensor
from celosia.dataflow.hierarchy.mapping import Loop, Mapping, Store
from celosia.dataflow.hierarchy.price import price
from celosia.dataflow.hierarchy.search import solve
from celosia.dataflow.hierarchy.systolic import Stationary, systolic_cycles
from celosia.dataflow.hierarchy.yaml_text import Tagged, to_yaml
from celosia.dataflow.search.objective import ENERGY
from celosia.models.errors import CelosiaError

LAYER = Layer.parse("64,64,14,14,3,3,1")
# What AccelForge 1.0.467's model says of the files that are written for the best mapping.
ACCELFORGE = {
    "64,64,14,14,3,3,1": (11640012.944550876, 28224),
    "64,128,28,28,1,1,2": (25996647.292330172, 25088),
}


def loop(dim, tile, axis=None):
    return Loop(dim=Dim(dim), tile=tile, axis=axis)


def store(tensor, level):
    return Store(tensor=Tensor(tensor), level=level)


EVEN = Mapping(
    steps=(
        loop("K", 16), store("I", "glb"), store("W", "glb"), loop("K", 1, "columns"),
        store("O", "acc"), loop("C", 16), loop("R", 1), loop("S", 1), loop("C", 1, "rows"),
        store("W", "reg"), loop("P", 1), loop("Q", 1),
    )
)  # fmt: skip


def files(tool, mapping=EVEN, layer=LAYER, architecture=None):
    return export(architecture or read_architecture("a"), layer, mapping, tool)


@pytest.mark.parametrize("sizes", ACCELFORGE)
def test_what_accelforge_made_of_the_files_is_our_price(sizes):
    found = solve(read_architecture("a"), Layer.parse(sizes), ENERGY)
    energy, cycles = ACCELFORGE[sizes]
    assert float(found.price.energy) == pytest.approx(energy, rel=1e-7)
    assert found.price.cycles == cycles


def test_accelforge():
    texts = files(Tool.ACCELFORGE)
    assert list(texts) == ["arch.yaml", "workload.yaml", "mapping.yaml"]
    assert '{name: "read", energy: 3e-12, bits_per_action: 8' in texts["arch.yaml"]
    assert 'may_reuse: "I"' in texts["arch.yaml"]
    assert 'H: "p + r"' in texts["workload.yaml"]
    nodes = [line.strip() for line in texts["mapping.yaml"].splitlines() if "!" in line]
    kinds = [node.removeprefix("- !") for node in nodes]
    assert kinds.count("Storage") == 3 + 4
    assert kinds.count("Spatial") == 2
    assert kinds.count("Temporal") == 6
    assert kinds[-1] == "Compute"
    strided = files(Tool.ACCELFORGE, layer=dataclasses.replace(LAYER, stride=2))
    assert 'H: "2*p + r"' in strided["workload.yaml"]


def test_zigzag():
    texts = files(Tool.ZIGZAG)
    order = texts["mapping.yaml"].split("temporal_ordering:")[1].split("memory")[0].split("- ")[1:]
    assert [entry.strip() for entry in order] == [
        '["OX", 14]', '["OY", 14]', '["FX", 3]', '["FY", 3]', '["C", 4]', '["K", 4]',
    ]  # fmt: skip
    assert 'D1: ["K, 16"]' in texts["mapping.yaml"]
    assert 'served_dimensions: ["D2"]' in texts["accelerator.yaml"]
    assert "loop_sizes: [1, 64, 64, 14, 14, 3, 3]" in texts["workload.yaml"]


def test_scalesim():
    texts = files(Tool.SCALESIM)
    assert "ArrayHeight = 16\nArrayWidth = 16\nifmapsramszkB = 128" in texts["scale.cfg"]
    assert "Dataflow = ws" in texts["scale.cfg"]
    assert texts["topology.csv"].endswith("layer, 16, 16, 3, 3, 64, 64, 1,\n")
    # What SCALE-Sim 3.0.0 reports for these files.
    assert systolic_cycles(LAYER, 16, 16, Stationary.WEIGHT) == 34847


def test_timeloop():
    texts = files(Tool.TIMELOOP)
    lines = texts["map.yaml"].splitlines()
    assert sum('type: "temporal"' in line for line in lines) == 4
    assert sum('type: "spatial"' in line for line in lines) == 2
    assert any('factors: "K=4 C=1 P=1 Q=1 R=1 S=1"' in line for line in lines)
    assert any('permutation: "QPKCRS"' in line for line in lines)
    assert "stride: 1" in texts["problem.yaml"]
    # A list of dimensions, of terms, of factors: `timeloop-model` 3.0.3 aborts on anything deeper.
    inputs = texts["problem.yaml"].split('"Inputs"')[1].split("Outputs")[0].splitlines()[2:7]
    assert [line.removeprefix(" " * 10) for line in inputs] == [
        '- - ["C"]', '- - ["P", "stride"]', '  - ["R"]', '- - ["Q", "stride"]', '  - ["S"]',
    ]  # fmt: skip


def test_timeloop_is_given_a_level_s_tiles_at_one_place():
    # No loop over K moves tiles of I: it may be fetched inside of one, at the same cost.
    apart = Mapping(steps=(store("I", "glb"), *EVEN.steps[:1], *EVEN.steps[2:]))
    assert files(Tool.TIMELOOP, apart) == files(Tool.TIMELOOP)


def test_mappings_price_as_they_are_written():
    assert price(read_architecture("a"), LAYER, EVEN).cycles == 28224


def test_what_a_tool_cannot_say_is_refused():
    uneven = Mapping(steps=(store("W", "glb"), EVEN.steps[0], store("I", "glb"), *EVEN.steps[3:]))
    with pytest.raises(CelosiaError, match="a loop over K, which moves tiles of W, lies between"):
        files(Tool.TIMELOOP, uneven)
    early = Mapping(steps=(EVEN.steps[4], *EVEN.steps[:4], *EVEN.steps[5:]))
    with pytest.raises(CelosiaError, match="a loop over K, which moves tiles of O, lies between"):
        files(Tool.TIMELOOP, early)
    masked = Mapping(steps=(loop("P", 3), *EVEN.steps))
    for tool in (Tool.TIMELOOP, Tool.ZIGZAG, Tool.ACCELFORGE):
        with pytest.raises(CelosiaError, match="wants tiles that divide: P has tiles of 3 in 14"):
            files(tool, masked)
    one_axis = dataclasses.replace(read_architecture("a"), axes=read_architecture("a").axes[:1])
    with pytest.raises(CelosiaError, match="an array of two axes, one that spreads C"):
        files(Tool.SCALESIM, architecture=one_axis)


def test_yaml():
    value = {"a": [1, {"b": [Tagged("T", {"c": {"d": [True, "x: y"]}})]}], "e": {"f": 1.5}}
    assert to_yaml(value).splitlines() == [
        "a:", "  - 1", "  - b:", "      - !T", '        c:', '          d: [true, "x: y"]',
        "e: {f: 1.5}",
    ]  # fmt: skip

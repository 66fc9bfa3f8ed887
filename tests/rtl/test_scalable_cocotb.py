# amaranth: UnusedElaboratable=no
"""Units in cocotb: words of the golden model's layers, with pauses on both streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.array_shape import Circuit
from celosia.models.formats import Fixed
from celosia.models.golden import convolve
from celosia.models.network import Conv, Requant, Window
from celosia.rtl.scalable.unit import ScalableUnit
from celosia.rtl.verilog import write_verilog

LANES = {Circuit.TILE: 8, Circuit.FUSION: 16, Circuit.SERIAL: 5}
SEED = 2109

TEST = """
import sys
from cocotb_tools.runner import get_runner
top, folder, words = sys.argv[1:]
get_runner("verilator").test(
    test_module="scalable_cocotb", hdl_toplevel=top, hdl_toplevel_lang="verilog",
    build_dir=folder, test_dir=folder, results_xml=folder + "/results.xml",
    extra_env={"CELOSIA_WORDS": words}, timescale=("1ns", "1ps"),
)
"""


def dot_products(lanes: int, weights: np.ndarray, fmt: Fixed, codes: np.ndarray, act: Fixed) -> int:
    """The golden model's accumulator of a layer with one output and one pixel."""
    one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    requant = Requant(
        bias=zero, positive=one, negative=one, residual=zero, shift=zero, low=0, high=1
    )
    conv = Conv(
        name="c", input="x", output="y", window=Window(kernel=(1, 1)), groups=1,
        weights=weights.reshape(1, lanes, 1, 1), formats=(fmt,), requant=requant,
    )  # fmt: skip
    return int(convolve(conv, codes.reshape(1, lanes, 1, 1), act)[0, 0, 0, 0])


def word(weights: np.ndarray, fmt: Fixed, codes: np.ndarray, act: Fixed) -> int:
    """The payload of a word: 16 bits a lane, then the precision."""
    lanes = [int(n) & 0xFFFF for n in (*weights, *codes)]
    packed = sum(code << 16 * n for n, code in enumerate(lanes))
    precision = fmt.bits | act.bits << 5 | fmt.signed << 10 | act.signed << 11
    return packed | precision << 16 * len(lanes)


@pytest.mark.parametrize(
    "circuit",
    [
        pytest.param(
            circuit, id=circuit.value, marks=() if circuit is Circuit.TILE else pytest.mark.campaign
        )
        for circuit in LANES
    ],
)
def test_golden_words_with_pauses(circuit: Circuit, tmp_path: Path) -> None:
    pytest.importorskip("cocotb")
    print("seed", SEED)
    rng, lanes = np.random.default_rng(SEED), LANES[circuit]
    words, sums = [], []
    for _ in range(60):
        fmt, act = (
            Fixed(bits=int(rng.integers(1, 17)), signed=bool(rng.integers(2))) for _ in range(2)
        )
        weights, codes = (rng.choice(f.values, lanes).astype(np.int64) for f in (fmt, act))
        words.append(str(word(weights, fmt, codes, act)))
        sums.append(dot_products(lanes, weights, fmt, codes, act))
    task = tmp_path / "words.npz"
    np.savez(task, words=np.array(words), sums=np.array(sums), seed=SEED)
    unit = ScalableUnit(circuit=circuit, lanes=lanes)
    source = tmp_path / "unit.v"
    source.write_text(write_verilog(unit))
    folder, top = tmp_path / "build", unit.module_name
    folder.mkdir()
    here = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, *sys.path])}
    for command in (
        ["-m", "celosia.sim.cocotb.launch", "build", str(source), top, str(folder)],
        ["-c", TEST, top, str(folder), str(task)],
    ):
        done = subprocess.run(
            [sys.executable, *command], env=environment, cwd=tmp_path, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results = (folder / "results.xml").read_text()
    assert 'errors="0" failures="0" skipped="0" tests="1"' in results, results

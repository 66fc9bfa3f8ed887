"""The benchmark measures a run that is right, against a loop that does the same work."""

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import PRESETS, preset
from celosia.dataflow.timing import timing
from celosia.models.golden import evaluate
from celosia.sim.bench import bench_network, bench_sim
from celosia.sim.check import check
from celosia.sim.run import Simulator


def test_bench_is_plausible() -> None:
    bench = bench_sim(preset("tiny"))
    assert bench.accelerator == "tiny"
    assert bench.cycles_per_s > 10_000
    # Noise of a busy machine, not more: the bare loop does less.
    assert 0.1 < bench.eval_ratio < 2
    assert bench.products_per_s == pytest.approx(
        bench.cycles_per_s * bench.utilisation * preset("tiny").array.products
    )
    assert bench.build_seconds is not None
    assert bench.build_seconds > 0


def test_bench_program_is_exact() -> None:
    accelerator = preset("tiny")
    network = bench_network(accelerator)
    program = compile_network(network, accelerator)
    tensor = network.tensor("t0")
    codes = np.random.default_rng(1).integers(0, tensor.format.high + 1, (1, *tensor.shape))
    run = Simulator(accelerator).run(program, {"t0": codes})
    verdict = check(program, run, evaluate(network, {"t0": codes}), timing(program, DDR4))
    assert verdict.passed, str(verdict)


@pytest.mark.parametrize("name", PRESETS)
def test_bench_network_fits_every_preset(name: str) -> None:
    program = compile_network(bench_network(preset(name)), preset(name))
    assert program.products > 0

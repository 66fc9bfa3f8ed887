# amaranth: UnusedElaboratable=no
"""The board's system, whole: a network over the serial wire, equal to the golden model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.presets import preset
from celosia.fpga.ecp5_top import Ecp5Top
from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.network import Conv, Network, Requant, Tensor, Window
from celosia.rtl.image import program_image
from celosia.rtl.verilog import write_verilog

SEED = 20261121
DIVISOR = 4


def small_network():
    """A 3x3 convolution of 2 channels to 3, with a stride."""
    rng = np.random.default_rng(SEED)
    ones = np.ones(3, np.int64)
    unsigned = Fixed(bits=8, signed=False)
    return Network(
        name="board",
        tensors=(
            Tensor(name="x", shape=(2, 5, 6), format=unsigned, scale=1.0),
            Tensor(name="y", shape=(3, 3, 3), format=unsigned, scale=1.0),
        ),
        inputs=("x",),
        outputs=("y",),
        ops=(
            Conv(
                name="conv",
                input="x",
                output="y",
                window=Window(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
                groups=1,
                weights=rng.integers(-128, 128, (3, 2, 3, 3)),
                formats=(Fixed(bits=8),) * 3,
                requant=Requant(
                    bias=100 * ones,
                    positive=3 * ones,
                    negative=0 * ones,
                    residual=0 * ones,
                    shift=9 * ones,
                    low=0,
                    high=255,
                ),
            ),
        ),
    )


def launch(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.timeout(900)
def test_host_runs_a_network_over_the_wire(tmp_path):
    network, accelerator = small_network(), preset("tiny")
    program = compile_network(network, accelerator, base_address=0)
    inputs = np.random.default_rng(SEED).integers(0, 256, (1, 2, 5, 6))
    image = program_image(program)
    program.placement("x").write(image, inputs[0])
    image = np.append(image, np.zeros(-image.size % 4096, np.uint8))
    size = max(4096, 1 << (image.size - 1).bit_length())
    top = Ecp5Top(accelerator, memory_bytes=size, divisor=DIVISOR)

    build, task = tmp_path / "build", tmp_path / "task"
    build.mkdir()
    task.mkdir()
    (build / "top.v").write_text(write_verilog(top))
    np.savez(
        task / "task.npz", image=image, numbers=(DIVISOR, program.program_address, program.chunks)
    )
    launch("-m", "celosia.sim.cocotb.launch", "build", str(build / "top.v"), "ecp5_top", str(build))
    launch(str(Path(__file__).with_name("board_bench.py")), str(build), str(task))
    with np.load(task / "result.npz") as result:
        after, cycles = result["image"], int(result["cycles"])
    got = program.placement("y").read(after)
    assert (got == evaluate(network, {"x": inputs})["y"][0]).all()
    assert cycles > sum(getattr(d, "steps", 0) for d in program.descriptors)

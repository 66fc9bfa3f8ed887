"""What ``test_cocotb.py`` runs beside the engine: a user's script."""

import json
from pathlib import Path

import numpy as np

from celosia.fpga.driver import Accelerator


def main(transport, folder):
    """Run what the folder holds; leave outputs and counters there."""
    with np.load(Path(folder) / "inputs.npz") as held:
        inputs = dict(held)
    with Accelerator(transport, seconds=30) as engine:
        engine.load(Path(folder) / "program.npz", buffers=2)
        outputs = engine.run(inputs)
        (Path(folder) / "counters.json").write_text(json.dumps(engine.counters()))
    np.savez(Path(folder) / "outputs.npz", **outputs)

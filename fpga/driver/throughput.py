"""How fast an engine is, with all that its driver does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from celosia.fpga.driver.accelerator import Accelerator
from celosia.models.files import atomic_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What was measured.

    Attributes
    ----------
    network, accelerator : str
        What ran, on what.
    samples : int
        Samples run in all.
    seconds : float
        Of wall clock, inputs written and outputs read.
    frames_per_second : float
        Samples over seconds.
    cycles_least, cycles_most : int
        Of one start, by the engine's counter.
    samples_per_start : int
        Samples that one start runs.
    counters : mapping of str to int
        The engine's, of the last start.
    layer_cycles : mapping of str to int
        Of each layer, in the last start.
    """

    network: str
    accelerator: str
    samples: int
    seconds: float
    frames_per_second: float
    cycles_least: int
    cycles_most: int
    samples_per_start: int
    counters: Mapping[str, int]
    layer_cycles: Mapping[str, int]

    def save(self, path: str | Path) -> None:
        """Write everything as JSON; :class:`OSError` if the file cannot be written."""
        with atomic_file(path) as draft:
            draft.write_text(json.dumps(asdict(self), indent=2) + "\n")


def measure(
    engine: Accelerator, inputs: Mapping[str, np.ndarray], *, seconds: float = 0.0
) -> tuple[dict[str, np.ndarray], Throughput]:
    """Run ``inputs``, once and again until ``seconds`` are over; return the outputs and the speed.

    Raises :class:`~celosia.models.errors.CelosiaError` as
    :meth:`celosia.fpga.driver.Accelerator.run` does.
    """
    begin = time.perf_counter()
    outputs = engine.run(inputs)
    cycles = [engine.cycles]
    while time.perf_counter() - begin < seconds:
        outputs = engine.run(inputs)
        cycles.append(engine.cycles)
    passed = time.perf_counter() - begin
    samples = len(cycles) * len(next(iter(inputs.values())))
    deployment, taken = engine.deployment, np.concatenate(cycles)
    return outputs, Throughput(
        network=deployment.network,
        accelerator=deployment.accelerator,
        samples=samples,
        seconds=passed,
        frames_per_second=samples / passed,
        cycles_least=int(taken.min()),
        cycles_most=int(taken.max()),
        samples_per_start=deployment.samples,
        counters=engine.counters(),
        layer_cycles=engine.layer_cycles(),
    )

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
    engine: Accelerator, inputs: Mapping[str, np.ndarray], *, seconds: float = 1.0
) -> Throughput:
    """Run ``inputs`` over and over for at least ``seconds``, once before that untimed.

    Raises
    ------
    ValueError
        ``seconds`` is not positive.
    CelosiaError
        As :meth:`celosia.fpga.driver.Accelerator.run` does.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be positive, not {seconds!r}")
    engine.run(inputs)
    batch = len(next(iter(inputs.values())))
    samples, least, most = 0, int(engine.cycles.min()), int(engine.cycles.max())
    begin = time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        engine.run(inputs)
        samples += batch
        least, most = min(least, int(engine.cycles.min())), max(most, int(engine.cycles.max()))
    deployment = engine.deployment
    return Throughput(
        network=deployment.network,
        accelerator=deployment.accelerator,
        samples=samples,
        seconds=passed,
        frames_per_second=samples / passed,
        cycles_least=least,
        cycles_most=most,
        samples_per_start=deployment.samples,
        counters=engine.counters(),
        layer_cycles=engine.layer_cycles(),
    )

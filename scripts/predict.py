"""A network on the models alone: the outputs, cycles and counters that the RTL is compared with."""

from __future__ import annotations

import collections.abc
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.engines import Description
from celosia.dataflow.inputs import check_inputs
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import BaseProgram, CompiledLayer
from celosia.dataflow.search.outline import Outline, OutlinedLayer, outline
from celosia.dataflow.timing import Timing
from celosia.models.golden import evaluate
from celosia.models.network import Network
from celosia.scripts.console import Report, table
from celosia.scripts.tiers import Tier, compile_for, heading, predict


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What the golden model and the timing model say of a network on an accelerator.

    Nothing is measured: that the RTL does the same is what
    :func:`celosia.scripts.simulate.simulate` shows.

    Attributes
    ----------
    network, program, memory
        What would run, and with which memory; an outline where nobody asked for the program.
    tensors : dict of str to numpy.ndarray
        Codes of every tensor, int64 (N, C, H, W).
    timings : tuple of Timing
        Of each start.
    seconds : dict of str to float
        Wall clock: of the compiler or the outline, during which the golden model runs, and of the
        rest.
    """

    network: Network
    program: BaseProgram | Outline
    memory: MemoryModel
    tensors: dict[str, np.ndarray]
    timings: tuple[Timing, ...]
    seconds: dict[str, float]

    @property
    def holds(self) -> bool:
        """True: nothing is compared."""
        return True

    @property
    def compiled(self) -> BaseProgram:
        """The program, where it was asked for; ``TypeError`` where it was not."""
        if isinstance(self.program, Outline):
            raise TypeError("predict_run was not asked for the program")
        return self.program

    @property
    def slowest(self) -> Timing:
        """The start with the most cycles, the first of them; it is the one that is shown."""
        return max(self.timings, key=lambda timing: timing.cycles)

    def _use(self, products: int, cycles: int) -> float:
        return products / (self.program.accelerator.products * max(cycles, 1))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, as a simulation does: what it measures is null."""
        timing = self.slowest
        layers: tuple[CompiledLayer | OutlinedLayer, ...] = self.program.layers
        exact = ("bit_exact", "cycles_exact", "counters_exact")
        compared = ("values_compared", "tensors_compared", "tensors_unseen")
        unknown = dict.fromkeys((*exact, *compared))
        return {
            **heading(Tier.MODEL, self.network, self.program, self.memory),
            "samples": len(self.timings) * self.program.samples,
            **unknown,
            "cycles_predicted": timing.cycles,
            "cycles_measured": None,
            "utilisation": self._use(self.program.products, timing.cycles),
            "layers": [
                {
                    "name": layer.name,
                    "cycles_predicted": took.cycles,
                    "cycles_measured": None,
                    "products": layer.products,
                    "utilisation": self._use(layer.products, took.cycles),
                }
                for layer, took in zip(layers, timing.layers, strict=True)
            ],
            "counters": {
                counter.name.lower(): {"predicted": count, "measured": None}
                for counter, count in timing.counters.items()
            },
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }

    def tables(self) -> list[Table]:
        """Return what to show: cycles by layer, and the counters."""
        value = self.as_dict()
        rows = [
            (layer["name"], layer["cycles_predicted"], f"{100 * layer['utilisation']:.1f} %")
            for layer in value["layers"]
        ]
        rows.append(("all", value["cycles_predicted"], f"{100 * value['utilisation']:.1f} %"))
        counts = [(name, count["predicted"]) for name, count in value["counters"].items()]
        return [
            table(("layer", "cycles predicted", "utilisation"), rows),
            table(("counter", "predicted"), counts),
        ]

    def verdict_line(self) -> str:
        """Return what these figures are, in words."""
        samples = len(self.timings) * self.program.samples
        return f"{samples} samples: predicted; nothing ran on the RTL"


def predict_run(
    network: Network,
    accelerator: Description,
    inputs: collections.abc.Mapping[str, np.ndarray],
    memory: MemoryModel,
    report: Report | None = None,
    mapping: Mapping | None = None,
    *,
    program: bool = False,
) -> Prediction:
    """Return what ``network`` computes on ``accelerator``, and how long that takes it.

    Parameters are those of :func:`celosia.scripts.simulate.simulate`, and whether the ``program``
    is wanted too, for a timeline or a report: without it the dense engine is faster to answer for.

    Raises
    ------
    CelosiaError
        When the network does not fit the accelerator, or an input does not fit the network.
    """
    tell = report or (lambda what, done, total: None)
    begin = time.perf_counter()
    tell("compile, and evaluate the golden model", 0, 2)
    with ThreadPoolExecutor(max_workers=1) as pool:
        evaluated = pool.submit(evaluate, network, inputs)
        found: BaseProgram | Outline
        if isinstance(accelerator, Accelerator) and not program:
            found = outline(network, accelerator, memory, mapping)
        else:
            found = compile_for(network, accelerator, mapping)
        compiled = time.perf_counter()
        tensors = evaluated.result()
    samples = check_inputs(found, inputs)
    tell("predict", 1, 2)
    if isinstance(found, Outline):
        timings = [found.timing] * (samples // found.samples)
    else:
        timings = predict(found, memory, tensors)
    return Prediction(
        network=network,
        program=found,
        memory=memory,
        tensors=tensors,
        timings=tuple(timings),
        seconds={"compile": compiled - begin, "predict": time.perf_counter() - compiled},
    )

"""A network on the RTL, compared with what the golden model and the timing model expect."""

from __future__ import annotations

import collections.abc
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table

from celosia.dataflow.engines import Description
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import BaseProgram
from celosia.dataflow.timing import Timing
from celosia.fpga.devices import Device
from celosia.fpga.netlist import Netlist, check_netlist
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.network import Network
from celosia.scripts.built import build
from celosia.scripts.console import Report, table
from celosia.scripts.tiers import Tier, compile_for, heading, predict
from celosia.sim.check import Verdict, check
from celosia.sim.explain import explain
from celosia.sim.explanation import Explanation
from celosia.sim.locate import MOST_CYCLES, Location, locate, trace_window
from celosia.sim.run import Run, Simulator
from celosia.sim.waves import Views, write_views


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What to look at more closely.

    Attributes
    ----------
    trace : Path or None
        Where to write signals (FST), of the cycles chosen or round the first difference.
    explain : bool
        Whether to say what fed the first difference, and which unit is to blame.
    layer : str or None
        Signals of this layer's cycles are written, whatever the comparison finds; of a long one
        its first :data:`~celosia.sim.locate.MOST_CYCLES`.
    window : tuple of int or None
        Signals of these cycles, from the first to the last, by the engine's counter.
    """

    trace: Path | None = None
    explain: bool = False
    layer: str | None = None
    window: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.layer is not None and self.window is not None:
            raise CelosiaError("--trace-layer and --trace-window both choose cycles: give one")
        if self.chosen and self.trace is None:
            raise ValueError("trace must be a file where cycles are chosen")

    @property
    def chosen(self) -> bool:
        """Whether the cycles of the trace are chosen."""
        return self.layer is not None or self.window is not None

    def cycles(self, run: Run) -> tuple[int, int]:
        """Return the first and last cycle chosen, of the first start of ``run``."""
        if self.window is not None:
            return self.window
        if self.layer not in run.layer_names:
            raise CelosiaError(
                f"--trace-layer {self.layer!r}: the layers are {', '.join(run.layer_names)}"
            )
        index = run.layer_names.index(self.layer)
        ends = run.layer_cycles[0].cumsum()
        end, cycles = int(ends[index]), int(run.layer_cycles[0, index])
        return end - cycles, min(end, end - cycles + MOST_CYCLES)


NOTHING: Final = Look()
"""No file is written, and of a difference only its cycle is found."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Simulation:
    """What was expected of a network on an accelerator, and what the RTL did.

    ``location`` says when the first difference happened, where there is one, and ``explanation``
    why, where that was asked for; ``views`` are of cycles that were chosen. ``netlist`` is what ran
    in the place of the RTL, where something did. ``seconds`` is wall clock by step, and building a
    simulator that is in the cache takes next to none.
    """

    network: Network
    program: BaseProgram
    memory: MemoryModel
    predicted: Timing
    run: Run
    verdict: Verdict
    location: Location | None
    seconds: dict[str, float]
    explanation: Explanation | None = None
    views: Views | None = None
    netlist: Netlist | None = None

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Codes of every tensor, inputs included, as found in memory or seen on the chip."""
        return self.run.tensors

    @property
    def compiled(self) -> BaseProgram:
        """The program that ran."""
        return self.program

    @property
    def holds(self) -> bool:
        """Whether every bit, cycle and access of every sample is as expected."""
        return self.verdict.passed

    @property
    def slowest(self) -> int:
        """The start with the most cycles, the first of them; it is the one that is shown."""
        return int(self.run.cycles.argmax())

    @property
    def cycles_measured(self) -> int:
        """Cycles of a sample; of the slowest, should they differ."""
        return int(self.run.cycles.max())

    @property
    def utilisation(self) -> float:
        """Useful products over products a cycle times cycles, for one sample."""
        return self.program.products / (self.program.accelerator.products * self.cycles_measured)

    def layers(self) -> list[dict[str, Any]]:
        """Return each layer's cycles, predicted and measured, and its use of the array."""
        each = self.program.accelerator.products
        measured = self.run.layer_cycles[self.slowest]
        return [
            {
                "name": layer.name,
                "cycles_predicted": expected.cycles,
                "cycles_measured": int(cycles),
                "products": layer.products,
                "utilisation": layer.products / (each * max(int(cycles), 1)),
            }
            for layer, expected, cycles in zip(
                self.program.layers, self.predicted.layers, measured, strict=True
            )
        ]

    def counters(self) -> dict[str, dict[str, int]]:
        """Return each counter, predicted and measured."""
        return {
            counter.name.lower(): {
                "predicted": self.predicted.counters[counter],
                "measured": int(self.run.counters[counter][self.slowest]),
            }
            for counter in self.run.counters
        }

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            **heading(Tier.RTL, self.network, self.program, self.memory),
            "netlist": self.netlist and self.netlist.as_dict(),
            "samples": self.run.samples,
            "bit_exact": self.verdict.bit_exact,
            "cycles_exact": self.verdict.cycle_exact,
            "counters_exact": self.verdict.counters_exact,
            "values_compared": self.verdict.elements,
            "tensors_compared": self.verdict.tensors,
            "tensors_unseen": list(self.verdict.unseen),
            "differences": [str(divergence) for divergence in self.verdict.divergences],
            "location": None if self.location is None else str(self.location),
            "explanation": None if self.explanation is None else self.explanation.as_dict(),
            "views": None if self.views is None else self.views.as_dict(),
            "cycles_predicted": self.predicted.cycles,
            "cycles_measured": self.cycles_measured,
            "utilisation": self.utilisation,
            "layers": self.layers(),
            "counters": self.counters(),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }

    def tables(self) -> list[Table]:
        """Return what to show: cycles by layer, and the counters."""
        rows = [
            (
                layer["name"],
                layer["cycles_predicted"],
                layer["cycles_measured"],
                f"{100 * layer['utilisation']:.1f} %",
            )
            for layer in self.layers()
        ]
        rows.append(
            ("all", self.predicted.cycles, self.cycles_measured, f"{100 * self.utilisation:.1f} %")
        )
        counts = [(name, c["predicted"], c["measured"]) for name, c in self.counters().items()]
        return [
            table(("layer", "cycles predicted", "measured", "utilisation"), rows),
            table(("counter", "predicted", "measured"), counts),
        ]

    def verdict_line(self) -> str:
        """Return the verdict as text: what was compared, or the differences and where to look."""
        where = f"\nfirst difference: {self.location}" if self.location else ""
        if self.explanation is not None:
            where = "\n" + "\n".join(self.explanation.lines())
        shown = f"\nsignals: {self.views}" if self.views else ""
        what = "" if self.netlist is None else f", on {self.netlist}"
        return f"{self.run.samples} samples{what}: {self.verdict}{where}{shown}"


def simulate(
    network: Network,
    accelerator: Description,
    inputs: collections.abc.Mapping[str, np.ndarray],
    memory: MemoryModel,
    report: Report | None = None,
    look: Look = NOTHING,
    mapping: Mapping | None = None,
    device: Device | None = None,
) -> Simulation:
    """Run ``network`` on the RTL of ``accelerator`` and compare it with what is expected.

    Parameters
    ----------
    network, accelerator
        What to run, and on what.
    inputs
        Codes of each input, integers (N, C, H, W).
    memory
        The memory that the engine sees.
    report
        Called as the work proceeds.
    look
        What to look at more closely; by default nothing but when the first difference happened.
    mapping
        How each layer is tiled; the default mapping where there is none.
    device
        Run the netlist of cells of this device in the place of the RTL. There is nothing to look
        at then: of a difference no cycle is found.

    Raises
    ------
    CelosiaError
        When the network does not fit the accelerator, an input does not fit the network, a tool
        is missing, the engine stops, or there is no netlist of it
        (:func:`celosia.fpga.netlist.netlist`).
    """
    if device is not None and (look.explain or look.chosen):
        raise CelosiaError(
            "a netlist has none of the RTL's signals: explain and trace a run without --netlist"
        )
    if device is not None:
        check_netlist(accelerator, device)
    tell = report or (lambda what, done, total: None)
    seconds: dict[str, float] = {}

    def timed(step: str, begin: float) -> None:
        seconds[step] = time.perf_counter() - begin

    begin = time.perf_counter()
    tell("compile", 0, 1)
    program = compile_for(network, accelerator, mapping)
    timed("compile", begin)
    begin = time.perf_counter()
    golden = evaluate(network, inputs)
    predicted = predict(program, memory, golden)
    timed("predict", begin)
    begin = time.perf_counter()
    built = build(accelerator, device, tell)
    simulator, cells = built.simulator, built.netlist
    seconds |= built.seconds
    begin = time.perf_counter()
    run = simulator.run(program, inputs, memory, progress=lambda d, t: tell("samples", d, t))
    timed("simulate", begin)
    begin = time.perf_counter()
    tell("compare", 0, 1)
    verdict = check(program, run, golden, predicted)
    timed("compare", begin)
    simulated = _Simulated(
        simulator=simulator, network=network, program=program, inputs=inputs, run=run, tell=tell
    )
    views = simulated.chosen(look) if look.chosen else None
    location, explanation = None, None
    if verdict.divergences and cells is None:
        tell("locate the difference", 0, 1)
        trace = None if look.chosen else look.trace
        if look.explain:
            explanation = simulated.explain(golden, verdict, mapping, trace)
            location = explanation.location
        else:
            location = locate(simulator, program, inputs, run, verdict.divergences[0], trace=trace)
    return Simulation(
        network=network,
        program=program,
        memory=memory,
        predicted=predicted[int(run.cycles.argmax())],
        run=run,
        verdict=verdict,
        location=location,
        seconds=seconds,
        explanation=explanation,
        views=views,
        netlist=cells,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Simulated:
    """A run that is looked at."""

    simulator: Simulator
    network: Network
    program: BaseProgram
    inputs: collections.abc.Mapping[str, np.ndarray]
    run: Run
    tell: Report

    def _building(self, what: str, done: int, total: int) -> None:
        self.tell(f"build with traces: {what}", done, total)

    def chosen(self, look: Look) -> Views:
        """Write the signals of the cycles that ``look`` chooses, of the first start."""
        assert look.trace is not None
        window = look.cycles(self.run)
        location = trace_window(
            self.simulator, self.program, self.inputs, self.run, 0, window, look.trace,
            self._building,
        )  # fmt: skip
        return write_views(self.simulator, location, window, None)

    def explain(
        self,
        golden: dict[str, np.ndarray],
        verdict: Verdict,
        mapping: Mapping | None,
        trace: Path | None,
    ) -> Explanation:
        """Explain the first divergence of ``verdict``."""
        return explain(
            self.simulator, self.network, self.program, self.inputs, self.run, golden,
            verdict.divergences[0], mapping=mapping, trace=trace, progress=self._building,
        )  # fmt: skip

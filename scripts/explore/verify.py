"""Whether what a search found is what the hardware does: generated, built, simulated, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from celosia.rtl.package import generate
from celosia.scripts.console import Report
from celosia.scripts.explore.run import Exploration
from celosia.scripts.simulate import Look, simulate

RTL: Final = "rtl"
TRACE: Final = "divergence.fst"


def verify(exploration: Exploration, folder: Path, report: Report) -> dict[str, Any]:
    """Generate the accelerator found into ``folder``, simulate it, and compare.

    One start of random inputs runs. ``holds`` of the result says that every bit, cycle and access
    is as predicted and the cycles are those that the search reported.

    Raises
    ------
    CelosiaError
        When a tool is missing or the engine stops.
    OSError
        When files cannot be written.
    """
    best, subject = exploration.best.job, exploration.request.subject
    report("generate", 0, 1)
    generate(best.accelerator, folder / RTL / best.accelerator.name)
    simulation = simulate(
        subject.variants[best.variant].network,
        best.accelerator,
        subject.inputs(best.variant, exploration.request.goal.samples),
        exploration.request.memory,
        report,
        Look(trace=folder / TRACE, explain=True),
        exploration.mapped.mapping,
    )
    searched = exploration.best.outcome.cycles
    return {
        "holds": simulation.holds and simulation.cycles_measured == searched,
        "cycles_searched": searched,
        "cycles_predicted": simulation.predicted.cycles,
        "cycles_measured": simulation.cycles_measured,
        "bit_exact": simulation.verdict.bit_exact,
        "cycles_exact": simulation.verdict.cycle_exact,
        "counters_exact": simulation.verdict.counters_exact,
        "verdict": simulation.verdict_line(),
        "seconds": {name: round(value, 3) for name, value in simulation.seconds.items()},
    }

"""What a search found, as values for programs, as tables for people, and as files."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accelerator_file import dump_accelerator
from celosia.dataflow.arrange import arrange
from celosia.dataflow.explore.outcome import MAPPED, Quantity
from celosia.dataflow.explore.search import Candidate
from celosia.dataflow.mapping import dump_mapping
from celosia.dataflow.nest import NestLevel, loop_nest
from celosia.dataflow.plan import StepPlan
from celosia.models.files import atomic_file
from celosia.models.storage import save
from celosia.scripts.console import table
from celosia.scripts.explore.run import Exploration

SUMMARY: Final = "explore.json"
ACCELERATOR: Final = "accelerator.toml"
MAPPING: Final = "mapping.json"
NETWORK: Final = "network.celosia"
REPORT: Final = "report.html"

_SHOWN: Final = 15
"""Rows of the Pareto table that people are shown; files hold all."""


def describe(accelerator: Accelerator) -> str:
    """Return an accelerator in a line."""
    array = accelerator.array
    mix = " + ".join(
        f"{group.count} {group.format.name} ({group.circuit.value})" for group in array.columns
    )
    return (
        f"{mix} x {array.lanes} lanes x {array.pixels} pixels, {accelerator.bus.data_bits}-bit bus"
    )


def row(found: Candidate, exploration: Exploration) -> dict[str, Any]:
    """Return what is known of a candidate, as JSON values."""
    goal, outcome = exploration.request.goal, found.outcome
    amounts = {q.value: goal.measure(outcome, found.job.variant, q) for q in Quantity}
    return {
        "array": describe(found.job.accelerator),
        "products": found.job.accelerator.array.products,
        "variant": exploration.request.subject.variants[found.job.variant].name,
        "cycles": outcome.cycles,
        **amounts,
        "bounds": {q.value: goal.bound(outcome, q) for q in MAPPED},
        "gaps": {q.value: goal.gap(outcome, q) for q in MAPPED},
        "within_limits": found.score.feasible,
    }


def summarise(exploration: Exploration) -> dict[str, Any]:
    """Return everything as JSON values."""
    request, found = exploration.request, exploration.found
    goal, progress = request.goal, found.progress
    return {
        "celosia": importlib.metadata.version("celosia"),
        "network": request.subject.name,
        "note": request.subject.note,
        "device": request.device.name,
        "objective": goal.objective.value,
        "limits": [limit.text for limit in goal.limits],
        "clock_mhz": goal.clock_mhz,
        "batch": goal.samples,
        "memory": asdict(request.memory),
        "dataflow": request.dataflow and request.dataflow.value,
        "strategy": request.strategy,
        "seed": request.seed,
        "search": {
            "ended": found.ended,
            "considered": progress.considered,
            "evaluated": progress.evaluated,
            "from_store": progress.stored,
            "seconds": round(progress.seconds, 3),
            "evaluated_per_s": round(progress.rate, 3),
        },
        "bound": {
            "fps": goal.fps(exploration.bound.cycles),
            "cycles": exploration.bound.cycles,
            "products": exploration.bound.products,
        },
        "best": row(exploration.best, exploration),
        "front": [row(candidate, exploration) for candidate in found.front],
        "points": [
            row(candidate, exploration)
            for candidate in found.candidates
            if candidate.outcome.cycles is not None
        ],
        "layers": [
            {
                "name": reason.name,
                "cycles": reason.cycles,
                "bound": reason.bound,
                "busy": reason.busy,
                "cause": reason.cause,
                "utilisation": reason.utilisation,
                "text": reason.text,
            }
            for reason in exploration.reasons
        ],
        "steps": _steps(exploration),
    }


def _steps(exploration: Exploration) -> list[dict[str, Any]]:
    """Return the loop nest of every step, and how full its buffers are."""
    best, mapping = exploration.best.job, exploration.mapped.mapping
    network = exploration.request.subject.variants[best.variant].network
    arrangement = arrange(network, best.accelerator)
    found = []
    for step in arrangement.lowered.steps:
        plan = StepPlan(step, arrangement, best.accelerator, mapping.samples)
        levels = loop_nest(plan, mapping.layer(step.name))
        found.append(
            {
                "name": step.name,
                "nest": [_level(level) for level in levels],
                "buffers": {
                    name: {
                        "tiles": tiles,
                        "words": words,
                        "depth": getattr(best.accelerator.buffers, name),
                    }
                    for level in levels
                    for name, tiles, words in level.buffers
                },
            }
        )
    return found


def _level(level: NestLevel) -> dict[str, Any]:
    return {
        "name": level.name,
        "loops": [
            {
                "dimension": loop.dimension.value,
                "count": loop.count,
                "step": loop.step,
                "last": loop.last,
            }
            for loop in level.loops
        ],
    }


def write_files(exploration: Exploration, folder: Path) -> dict[str, str]:
    """Write the accelerator, the mapping and the network, each whole or not at all.

    Return the paths by what they hold. Raises ``OSError`` when one cannot be written.
    """
    best = exploration.best.job
    network = exploration.request.subject.variants[best.variant].network
    save(network, folder / NETWORK)
    paths = {"network": str(folder / NETWORK)}
    texts = {
        "accelerator": (ACCELERATOR, dump_accelerator(best.accelerator)),
        "mapping": (MAPPING, dump_mapping(exploration.mapped.mapping)),
    }
    for what, (name, text) in texts.items():
        with atomic_file(folder / name) as draft:
            draft.write_text(text, encoding="utf-8")
        paths[what] = str(folder / name)
    return paths


def write_summary(summary: dict[str, Any], folder: Path) -> dict[str, str]:
    """Write the summary; return its path. Raises ``OSError`` when it cannot be written."""
    with atomic_file(folder / SUMMARY) as draft:
        draft.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return {"summary": str(folder / SUMMARY)}


def tables(summary: dict[str, Any]) -> list[Table]:
    """Return what to show: the Pareto front, and what bounds each layer."""
    varied = len({entry["variant"] for entry in summary["front"]}) > 1
    shown = summary["front"][:_SHOWN]
    headers = ["frames/s", "gap", "uJ a frame", "gap", "LUT", "DSP", "BRAM", "cycles", "array"]
    if summary["batch"] > 1:
        headers[headers.index("cycles")] = "cycles a start"
    if varied:
        headers += ["accuracy", "formats"]
    cells = [_cells(entry, varied=varied) for entry in shown]
    hidden = len(summary["front"]) - len(shown)
    more = f", {hidden} more in {SUMMARY}" if hidden else ""
    title = f"Pareto front of {summary['network']} on {summary['device']}{more}"
    layers = [
        (layer["name"], layer["cycles"], f"{100 * layer['utilisation']:.1f} %", layer["text"])
        for layer in summary["layers"]
    ]
    reasons = table(("layer", "cycles", "array used", "bound by"), layers, "The chosen accelerator")
    shown_tables = [table(headers, cells, title), reasons]
    if "explained" in summary:
        told = summary["explained"]
        rows = [
            (
                entry["mapping"],
                *("-" if entry[key] is None else entry[key] for key in ("layer_cycles", "cycles")),
                entry["text"],
            )
            for entry in told["mappings"]
        ]
        named = ("mapping", "cycles of the layer", "of the network", "bound by")
        shown_tables.append(table(named, rows, f"Layer {told['layer']}"))
    return shown_tables


def _cells(entry: dict[str, Any], *, varied: bool) -> Sequence[object]:
    cells: list[object] = [
        f"{entry['fps']:,.1f}",
        f"{100 * entry['gaps']['fps']:.1f} %",
        f"{entry['energy']:,.1f}",
        f"{100 * entry['gaps']['energy']:.1f} %",
        *(round(entry[name]) for name in ("lut", "dsp", "bram")),
        entry["cycles"],
        entry["array"],
    ]
    if varied:
        accuracy = entry["accuracy"]
        cells += ["-" if accuracy is None else f"{accuracy:.4f}", entry["variant"]]
    return cells


def certificate(entry: dict[str, Any]) -> str:
    """Return how far an accelerator's mapping is from what any mapping on it gives at most."""
    parts = [
        f"{entry['bounds'][quantity.value]:,.5g} {quantity.unit} "
        f"(gap {100 * entry['gaps'][quantity.value]:.1f} %)"
        for quantity in MAPPED
    ]
    return f"no mapping on it is better than {', '.join(parts)}"


def start(summary: dict[str, Any]) -> str:
    """Return of what cycles are: a frame, or several of one start, and how long that takes."""
    if summary["batch"] == 1:
        return "a frame"
    milliseconds = summary["best"]["cycles"] / (summary["clock_mhz"] * 1e3)
    return f"a start of {summary['batch']} frames ({milliseconds:,.4g} ms)"


def lines(summary: dict[str, Any]) -> list[str]:
    """Return what to say below the tables."""
    best, search, bound = summary["best"], summary["search"], summary["bound"]
    speed = (
        f"{best['fps']:,.1f} frames/s at {summary['clock_mhz']:g} MHz (assumed), "
        f"{best['cycles']:,} cycles {start(summary)}; no accelerator within the limits exceeds "
        f"{bound['fps']:,.1f} frames/s"
    )
    effort = (
        f"accelerators: {search['considered']} considered, {search['evaluated']} evaluated "
        f"({search['evaluated_per_s']:.2f} a second), {search['from_store']} known: "
        f"{search['ended']}"
    )
    said = [f"chosen: {best['array']}", speed, certificate(best), effort]
    if summary["note"]:
        said.append(f"mind: {summary['note']}")
    if "verified" in summary:
        found = summary["verified"]
        said.append(
            f"verified: {found['cycles_measured']:,} cycles in the RTL, "
            f"{found['cycles_searched']:,} in the search; {found['verdict']}"
        )
    return said

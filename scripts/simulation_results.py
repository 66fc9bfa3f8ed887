"""What a simulation, or a prediction, leaves in a folder: its summary, report and timeline."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any, Final

from celosia.dataflow.program import Program
from celosia.models.files import atomic_file
from celosia.scripts.predict import Prediction
from celosia.scripts.profile import profile
from celosia.scripts.report import read_summary, write_report
from celosia.scripts.simulate import Simulation
from celosia.scripts.trace_events import write_timeline

SUMMARY: Final = "summary.json"
REPORT: Final = "report.html"
TIMELINE: Final = "timeline.json.gz"


def summarise(found: Simulation | Prediction) -> dict[str, Any]:
    """Return a run as JSON values, with what bounds each layer where it is of the dense engine."""
    summary = {"celosia": importlib.metadata.version("celosia"), **found.as_dict()}
    if not isinstance(found.program, Program):
        return summary
    predicted = found.slowest if isinstance(found, Prediction) else found.predicted
    more = profile(found.program, predicted, found.memory)
    layers = zip(summary["layers"], more.pop("layers"), strict=True)
    return summary | more | {"layers": [{**layer, **known} for layer, known in layers]}


def write_results(found: Simulation | Prediction, folder: Path) -> dict[str, Any]:
    """Write all there is to know of a run into ``folder``; return its summary.

    Raises
    ------
    OSError
        When a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(found)
    if isinstance(found.program, Program):
        write_timeline(found.program, found.memory, folder / TIMELINE)
        summary["timeline"] = TIMELINE
    with atomic_file(folder / SUMMARY) as draft:
        draft.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    write_report(read_summary(folder), folder / REPORT)
    return summary

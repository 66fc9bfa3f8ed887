"""The page of a search in the report: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup

from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file
from celosia.scripts.charts import Axes, Bar, Point, bars, scatter
from celosia.scripts.explore.drawings import loop_boxes
from celosia.scripts.explore.results import certificate, start
from celosia.scripts.pages import render_page

_CLOUD: Final = 400
"""Candidates that are drawn besides the front, the best first."""


def is_exploration(summary: dict[str, Any]) -> bool:
    """Whether a summary is one of a search."""
    return "front" in summary and "search" in summary


def write_page(summary: dict[str, Any], path: str | Path) -> None:
    """Write the page of the search that ``summary`` tells of to ``path``.

    Raises
    ------
    CelosiaError
        When the summary lacks something that the page shows.
    OSError
        When the file cannot be written.
    """
    try:
        page = render(summary)
    except (jinja2.UndefinedError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CelosiaError(
            f"the summary is of another version of Celosia ({error}): run 'celosia explore' again"
        ) from error
    with atomic_file(path) as draft:
        draft.write_text(page, encoding="utf-8")


def render(summary: dict[str, Any]) -> str:
    """Return the page's HTML."""
    return render_page(
        "explore.html",
        summary=summary,
        certificate=certificate(summary["best"]),
        start=start(summary),
        front=_front(summary, "lut", "look-up tables"),
        energies=_front(summary, "energy", "uJ a frame"),
        gaps=_gaps(summary["layers"]),
        steps=[
            {
                "name": step["name"],
                "nest": loop_boxes(step["name"], step["nest"]),
                "buffers": _buffers(step),
            }
            for step in summary["steps"]
        ],
    )


def _front(summary: dict[str, Any], kind: str, across: str) -> Markup:
    best = summary["best"]
    front = summary["front"]
    others = sorted(summary["points"], key=lambda entry: -entry["fps"])[:_CLOUD]
    points = [Point(label="", x=entry[kind], y=entry["fps"], mark="dim") for entry in others]
    points += [Point(label="", x=entry[kind], y=entry["fps"], mark="two") for entry in front]
    points.append(Point(label="chosen", x=best[kind], y=best["fps"], mark="one"))
    return scatter(
        f"frames a second against {across}", points, Axes(across=across, up="frames a second")
    )


def _gaps(layers: list[dict[str, Any]]) -> Markup:
    rows = [
        Bar(
            label=layer["name"],
            values=(layer["bound"], layer["cycles"]),
            marks=("two", "one"),
            text=f"{layer['bound']:,} / {layer['cycles']:,}",
        )
        for layer in layers
    ]
    return bars("least cycles of the busiest unit, and cycles", rows)


def _buffers(step: dict[str, Any]) -> Markup:
    rows = []
    for name, buffer in step["buffers"].items():
        used, depth = buffer["tiles"] * buffer["words"], buffer["depth"]
        rows.append(
            Bar(
                label=name,
                values=(used / depth,),
                marks=("two",),
                text=f"{buffer['tiles']} x {buffer['words']:,} of {depth:,} words",
            )
        )
    return bars(f"buffers of {step['name']}", rows, most=1.0)

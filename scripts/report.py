"""The report of a run as one HTML page that needs nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file
from celosia.scripts.charts import Bar, Point, bars, flow, frontier, scatter
from celosia.scripts.explore.page import is_exploration
from celosia.scripts.report_eie import eie_charts, improvements, read_measured

SHOWN = 0.15
"""Formats that lose more than this to the best accuracy are not drawn."""

RESOURCES = ("lut", "ff", "dsp", "bram")


def read_summary(path: str | Path) -> dict[str, Any]:
    """Return the summary that a quickstart run, or a search, wrote.

    Raises
    ------
    CelosiaError
        When the file is missing or no such summary.
    """
    try:
        summary = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CelosiaError(
            f"cannot read {path}: {error.strerror or error}. 'celosia quickstart' writes it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CelosiaError(f"{path} is damaged: {error}. Run 'celosia quickstart' again") from error
    if isinstance(summary, dict) and is_exploration(summary):
        return summary
    if not isinstance(summary, dict) or not isinstance(summary.get("networks"), dict):
        raise CelosiaError(f"{path} is no summary of a quickstart run: it has no networks")
    return summary


def read_formats(path: str | Path | None = None) -> list[dict[str, Any]]:
    """Return the rows of a table of formats; without a path those that come with Celosia.

    Raises
    ------
    CelosiaError
        When the file is missing or holds no such rows.
    """
    source = files("celosia.scripts").joinpath("formats.json") if path is None else Path(path)
    try:
        rows = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise CelosiaError(
            f"cannot read {path}: {error.strerror or error}. 'celosia bench formats --json' "
            "writes it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CelosiaError(f"{path} is damaged: {error}") from error
    needed = {"format", "workload", "qat_mean", "qat_spread", "lut_only_per_product"}
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and needed <= set(row) for row in rows
    ):
        raise CelosiaError(
            f"{path} is no table of formats: 'celosia bench formats --json' writes one"
        )
    return rows


def write_report(
    summary: dict[str, Any], path: str | Path, formats: list[dict[str, Any]] | None = None
) -> None:
    """Write the report of ``summary`` to ``path``, with the table of ``formats``.

    Without one it shows the table that comes with Celosia.

    Raises
    ------
    CelosiaError
        When the summary lacks something that the report shows.
    OSError
        When the file cannot be written.
    """
    try:
        page = render(summary, read_formats() if formats is None else formats)
    except (jinja2.UndefinedError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CelosiaError(
            f"the summary is of another version of Celosia ({error}): run the quickstart again"
        ) from error
    with atomic_file(path) as draft:
        draft.write_text(page, encoding="utf-8")


def render(summary: dict[str, Any], formats: list[dict[str, Any]]) -> str:
    """Return the report's HTML; ``formats`` is as :func:`read_formats` gives it."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("celosia.scripts").joinpath("report.html").read_text(encoding="utf-8")
    )
    networks, measured = summary["networks"], read_measured()
    return template.render(
        summary=summary,
        flows={name: _flow(net) for name, net in networks.items()},
        cycles={name: _cycles(net) for name, net in networks.items()},
        uses={name: _uses(net) for name, net in networks.items()},
        resources={name: _resources(net) for name, net in networks.items()},
        formats={name: _formats(formats, name) for name in _workloads(formats)},
        eie=eie_charts(measured),
        eie_networks=measured["networks"],
        eie_alone=improvements(measured["alone"]),
    )


def _workloads(formats: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["workload"] for row in formats))


def _formats(formats: list[dict[str, Any]], workload: str) -> Markup:
    measured = [
        row
        for row in formats
        if row["workload"] == workload and row["lut_only_per_product"] is not None
    ]
    least = max((row["qat_mean"] for row in measured), default=0.0) - SHOWN
    points = [
        Point(
            label="",
            x=row["lut_only_per_product"],
            y=100 * row["qat_mean"],
            spread=100 * row["qat_spread"],
            hint=row["format"],
        )
        for row in measured
        if row["qat_mean"] >= least
    ]
    best = frontier(points)
    named = [replace(point, label=point.hint, mark="one", before=True) for point in best]
    return scatter(
        f"accuracy against look-up tables a product on {workload}",
        [*(point for point in points if point not in best), *named],
        "look-up tables for a product a cycle, without DSP blocks",
        "accuracy in %",
        decades=True,
        most=100.0,
    )


def _flow(net: dict[str, Any]) -> Markup:
    return flow(
        (
            ("float network", f"accuracy {net['accuracy_float']:.4f}"),
            ("quantised", f"accuracy {net['accuracy_integer']:.4f}"),
            ("compiled", f"{net['cycles_predicted']:,} cycles"),
            ("Verilog", f"{net['verilog_modules']} modules"),
            ("simulated", f"{net['samples']} samples"),
            ("synthesised", f"{net['lut']:,} LUT"),
        )
    )


def _cycles(net: dict[str, Any]) -> Markup:
    rows = [
        Bar(
            label=layer["name"],
            values=(layer["cycles_predicted"], layer["cycles_measured"]),
            marks=("two", "one"),
            text=f"{layer['cycles_predicted']:,} / {layer['cycles_measured']:,}",
        )
        for layer in net["layers"]
    ]
    return bars("cycles of each layer, predicted and measured", rows)


def _uses(net: dict[str, Any]) -> Markup:
    rows = [
        Bar(
            label=layer["name"],
            values=(layer["utilisation"],),
            marks=("two",),
            text=f"{100 * layer['utilisation']:.1f} %",
        )
        for layer in net["layers"]
    ]
    return bars("use of the array in each layer", rows, most=1.0)


def _resources(net: dict[str, Any]) -> Markup:
    synthesis = net["synthesis"]
    rows = []
    for kind in RESOURCES:
        share = synthesis["fractions"][kind]
        used, budget = synthesis["total"][kind], synthesis["budget"][kind]
        rows.append(
            Bar(
                label=kind,
                values=(min(share, 1.0),),
                marks=("over" if share > 1 else "two",),
                text=f"{used:,} of {budget:,} ({100 * share:.1f} %)",
            )
        )
    return bars("resources against the device's budget", rows, most=1.0)

"""The report of a run, or of several, as one HTML page that needs nothing else.

What it shows follows from what the summary holds: a quickstart's, a simulation's, or the rows of a
benchmark of networks. Parts that a summary does not tell are left out. Searches and builds have
pages of their own.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file
from celosia.scripts.charts import Axes, Point, frontier, scatter
from celosia.scripts.explore.page import is_exploration
from celosia.scripts.pages import number, render_page
from celosia.scripts.report_build import check_build, is_build
from celosia.scripts.report_eie import eie_charts, improvements, read_measured
from celosia.scripts.report_network import bench_chart, charts, frames

SHOWN: Final = 0.15
"""Formats that lose more than this to the best accuracy are not drawn."""

SUMMARIES: Final = ("summary.json", "explore.json", "report.json", "area.json")
"""What a folder of results holds, the first that is there."""


def read_summary(path: str | Path) -> dict[str, Any]:
    """Return the summary that a run wrote: a quickstart, simulation, benchmark, search or build.

    ``path`` is its JSON file, or the folder that holds it. What is not of a search or a build comes
    back with ``networks``, a dictionary by name, and ``rows`` where it is a benchmark's.

    Raises
    ------
    CelosiaError
        When the file is missing or no such summary, or a build's lacks something.
    """
    path = Path(path)
    if path.is_dir():
        path = next((path / name for name in SUMMARIES if (path / name).exists()), path)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CelosiaError(
            f"cannot read {path}: {error.strerror or error}. 'celosia quickstart' and 'celosia "
            "simulate -o FOLDER' write a summary.json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CelosiaError(f"{path} is damaged: {error}. Run what wrote it again") from error
    if isinstance(summary, dict) and is_exploration(summary):
        return summary
    if isinstance(summary, dict) and is_build(summary):
        check_build(summary, path)
        return summary
    if isinstance(summary, list) and summary:
        return _of_rows(summary, path)
    if isinstance(summary, dict) and isinstance(summary.get("networks"), dict):
        networks = summary["networks"].values()
        if all(isinstance(network, dict) for network in networks):
            return summary
    elif isinstance(summary, dict) and "layers" in summary and "cycles_measured" in summary:
        name = str(summary.get("network", "network"))
        return {
            "celosia": summary.get("celosia"),
            "holds": _holds(summary),
            "networks": {name: summary},
        }
    raise CelosiaError(
        f"{path} is no summary of a run: neither a quickstart's, a simulation's, a search's, "
        "a build's nor rows of 'celosia bench networks --json'"
    )


def _of_rows(rows: list[Any], path: Path) -> dict[str, Any]:
    if not all(isinstance(row, dict) and "network" in row for row in rows):
        raise CelosiaError(
            f"{path} is no table of networks: 'celosia bench networks --json' writes one"
        )
    # A benchmark lists the layers that need an explanation.
    detailed = {
        f"{row['network']} on {row.get('accelerator', '?')}": {
            **row,
            "layers": [_layer(layer) for layer in row["layers"] if isinstance(layer, dict)],
            "layers_chosen": True,
        }
        for row in rows
        if isinstance(row.get("layers"), list) and row["layers"]
    }
    return {"holds": all(map(_holds, rows)), "rows": rows, "networks": detailed}


def _layer(layer: dict[str, Any]) -> dict[str, Any]:
    """Return a layer under the names that a simulation uses."""
    return {
        "name": layer.get("layer"), "cycles_predicted": layer.get("cycles"), **layer,
    }  # fmt: skip


def _holds(run: dict[str, Any]) -> bool | None:
    """Return whether a run is as expected, None where it does not tell."""
    told = [run.get(key) for key in ("bit_exact", "cycles_exact", "counters_exact")]
    if run.get("cycles_measured") is not None and "cycles_predicted" in run:
        told.append(run["cycles_measured"] == run["cycles_predicted"])
    told = [value for value in told if value is not None]  # null: nothing ran on the RTL
    return all(value is True for value in told) if told else None


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
    """Write the report of ``summary``, see :func:`read_summary`, to ``path``.

    ``formats`` is the table that a quickstart's report shows; None: that which comes with Celosia.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    page = render(summary, read_formats() if formats is None else formats)
    with atomic_file(path) as draft:
        draft.write_text(page, encoding="utf-8")


def render(summary: dict[str, Any], formats: list[dict[str, Any]]) -> str:
    """Return the report's HTML; ``formats`` is as :func:`read_formats` gives it."""
    rows, networks = summary.get("rows"), summary["networks"]
    # What was measured elsewhere is shown beside the main job, which is about formats and engines.
    main_job = "bitstream" in summary
    measured = read_measured() if main_job else {}
    return render_page(
        "report.html",
        summary=summary,
        rows=rows or [],
        rows_chart=bench_chart(rows) if rows else "",
        charts={name: charts(name, network) for name, network in networks.items()},
        frames={name: frames(network) for name, network in networks.items()},
        exact={name: _holds(network) for name, network in networks.items()},
        formats={name: _formats(formats, name) for name in _workloads(formats)} if main_job else {},
        eie=eie_charts(measured) if main_job else {},
        eie_networks=measured.get("networks", []),
        eie_alone=improvements(measured.get("alone", [])),
    )


def _workloads(formats: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["workload"] for row in formats))


def _formats(formats: list[dict[str, Any]], workload: str) -> Markup:
    measured = [
        row
        for row in formats
        if row["workload"] == workload and number(row["lut_only_per_product"]) is not None
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
        Axes(
            across="look-up tables for a product a cycle, without DSP blocks",
            up="accuracy in %",
            decades=True,
            most=100.0,
        ),
    )

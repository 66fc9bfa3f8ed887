"""The report's charts of the EIE engine, of measurements that come with Celosia."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from celosia.scripts.charts import Axes, Bar, Point, bars, scatter

BASE_PES, BASE_DEPTH = 64, 8
"""The paper's engine, from which a curve changes one number."""

MARKS = ("one", "two")


def read_measured() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of ``bench eie`` that come with Celosia.

    Those of ``layers``, of ``curves``, of improvements ``alone`` and of ``networks``.
    """
    text = files("celosia.scripts").joinpath("eie.json").read_text(encoding="utf-8")
    measured: dict[str, list[dict[str, Any]]] = json.loads(text)
    return measured


def improvements(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return rows of ``bench eie --alone`` by layer, and in these by improvement."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["layer"], {})[row["improvements"]] = row
    return found


def eie_charts(measured: dict[str, list[dict[str, Any]]]) -> dict[str, Markup]:
    """Return the charts by title: times beside the paper's, balance over depth, speed over PEs.

    ``measured`` is as :func:`read_measured` gives it.
    """
    return {
        "Time of each layer at 800 MHz": _times(measured["layers"]),
        "Balance over the depth of the queues": _depths(measured["curves"]),
        "Speed over the number of PEs": _speeds(measured["curves"]),
    }


def _times(layers: list[dict[str, Any]]) -> Markup:
    improved = {row["layer"]: row for row in layers if row["improvements"] == "on"}
    rows = []
    for row in layers:
        if row["improvements"] == "off" and row["layer"] in improved:
            both = row["us_at_800mhz"], improved[row["layer"]]["us_at_800mhz"]
            rows.append(
                Bar(
                    label=row["layer"],
                    values=(row["paper_us"], *both),
                    marks=("dim", "two", "one"),
                    text=f"{row['paper_us']:g} / {both[0]:.1f} / {both[1]:.1f} us",
                )
            )
    names = ("the paper's", "ours", "ours improved")
    return bars("microseconds of each EIE layer", rows, names=names)


def _names(curves: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(point["layer"] for point in curves))


def _depths(curves: list[dict[str, Any]]) -> Markup:
    points = {
        (point["layer"], point["queue_depth"]): Point(
            label="",
            x=point["queue_depth"],
            y=100 * point["balance"],
            mark=MARKS[_names(curves).index(point["layer"]) % len(MARKS)],
            hint=f"{point['layer']}, depth {point['queue_depth']}",
        )
        for point in curves
        if point["pes"] == BASE_PES
    }
    return scatter(
        f"balance over queue depth: {', '.join(_names(curves))}",
        list(points.values()),
        Axes(
            across=f"places of a queue ({', '.join(_names(curves))} from above)",
            up="work in % of cycles",
            decades=True,
            most=100.0,
        ),
    )


def _speeds(curves: list[dict[str, Any]]) -> Markup:
    alone = {
        point["layer"]: point["cycles"]
        for point in curves
        if point["pes"] == 1 and point["queue_depth"] == BASE_DEPTH
    }
    points = {
        (point["layer"], point["pes"]): Point(
            label="",
            x=point["pes"],
            y=alone[point["layer"]] / point["cycles"],
            mark=MARKS[_names(curves).index(point["layer"]) % len(MARKS)],
            hint=f"{point['layer']}, {point['pes']} PEs",
        )
        for point in curves
        # A layer that was not run on one PE has no speed to be compared with.
        if point["queue_depth"] == BASE_DEPTH and point["layer"] in alone
    }
    return scatter(
        f"speed over PEs: {', '.join(_names(curves))}",
        list(points.values()),
        Axes(
            across=f"processing elements ({', '.join(_names(curves))} from above)",
            up="times as fast as one",
            decades=True,
        ),
    )

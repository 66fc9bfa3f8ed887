"""The charts of one network in the report: each is left out where the run did not tell enough."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from markupsafe import Markup

from celosia.dataflow.stalls import Stall
from celosia.fpga.devices import ZCU102
from celosia.scripts.charts import Axes, Bar, Point, Series, bars, lines, scatter, stacked
from celosia.scripts.pages import number

RESOURCES: Final = ("lut", "ff", "dsp", "bram")

_WAITS: Final = {
    Stall.FETCH: "dim",
    Stall.LATENCY: "four",
    Stall.BANDWIDTH: "one",
    Stall.BUFFER: "five",
    Stall.OUTPUTS: "six",
    Stall.POST: "eight",
    Stall.TAIL: "seven",
}
_OPERANDS: Final = {
    "activations": "two",
    "weights": "one",
    "constants": "five",
    "residuals": "four",
    "outputs": "three",
    "program": "dim",
    "stamps": "seven",
}
_UNITS: Final = {"load": "one", "compute": "two", "post": "four", "store": "three"}


def charts(name: str, network: dict[str, Any]) -> dict[str, Markup]:
    """Return the charts of a run by their kind; those that it does not tell are missing."""
    made = {
        "cycles": _cycles,
        "time": _time,
        "uses": _uses,
        "roofline": _roofline,
        "activity": _activity,
        "traffic": _traffic,
        "resources": _resources,
    }
    found = {kind: chart(name, network) for kind, chart in made.items()}
    return {kind: chart for kind, chart in found.items() if chart}


CLOCKS_MHZ: Final = (200, 250, 300)
"""What frames a second on a ZCU102 are told at."""


def frames(network: dict[str, Any]) -> dict[str, float]:
    """Return frames a second at each of :data:`CLOCKS_MHZ`, by the clock in MHz.

    They are one over measured cycles: nothing was placed and routed for these clocks. None of a
    run of another part, or of cycles that were not measured.
    """
    part = network.get("synthesis") or network.get("area")
    cycles, samples = number(network.get("cycles_measured")), network.get("samples_per_start", 1)
    if not isinstance(part, dict) or part.get("device") != ZCU102.name or not cycles:
        return {}
    return {str(clock): round(samples * clock * 1e6 / cycles, 1) for clock in CLOCKS_MHZ}


def bench_chart(rows: list[dict[str, Any]]) -> Markup:
    """Return the use of the array in each row of a benchmark of networks."""
    drawn = [
        Bar(
            label=f"{row['network']} on {row.get('accelerator', '?')}",
            values=(share,),
            marks=("two" if row.get("bit_exact") is True else "over",),
            text=f"{100 * share:.1f} %",
        )
        for row in rows
        if (share := number(row.get("utilisation"))) is not None
    ]
    return bars("use of the array by network", drawn, most=1.0) if drawn else Markup("")


def _layers(network: dict[str, Any], *keys: str) -> list[dict[str, Any]]:
    """Return the layers that have numbers under all ``keys``."""
    layers = network.get("layers")
    if not isinstance(layers, list):
        return []
    return [
        layer
        for layer in layers
        if isinstance(layer, dict) and all(number(layer.get(key)) is not None for key in keys)
    ]


def _cycles(name: str, network: dict[str, Any]) -> Markup:
    """Draw each layer's cycles: those of the kinds that every layer has."""
    kinds = {
        "ideal": ("ideal", "dim"),
        "cycles_predicted": ("predicted", "two"),
        "cycles_measured": ("measured in RTL", "one"),
    }
    layers = _layers(network, "cycles_predicted")
    known = [kind for kind in kinds if layers and _layers(network, kind) == layers]
    rows = []
    for layer in layers:
        predicted, measured = layer["cycles_predicted"], layer.get("cycles_measured")
        text = f"{predicted:,}"
        if "cycles_measured" in known and measured != predicted:
            text = f"{predicted:,} predicted, {measured:,}"
        rows.append(
            Bar(
                label=str(layer.get("name", "")),
                values=tuple(layer[kind] for kind in known),
                marks=tuple(kinds[kind][1] for kind in known),
                text=text,
            )
        )
    names = [kinds[kind][0] for kind in known]
    return bars(f"cycles of each layer of {name}", rows, names=names) if rows else Markup("")


def _numbers(layer: dict[str, Any], key: str) -> dict[str, float]:
    values = layer.get(key)
    if not isinstance(values, dict):
        return {}
    return {kind: float(value) for kind, value in values.items() if number(value) is not None}


def _time(name: str, network: dict[str, Any]) -> Markup:
    layers = [layer for layer in _layers(network, "ideal") if _numbers(layer, "stalls")]
    if not layers:
        return Markup("")
    spent = [_numbers(layer, "stalls") for layer in layers]
    computing = [stalls.get(Stall.NONE.value, 0.0) for stalls in spent]
    useful = [min(layer["ideal"], busy) for layer, busy in zip(layers, computing, strict=True)]
    idle = [busy - least for busy, least in zip(computing, useful, strict=True)]
    parts = [
        Series(name="useful", values=tuple(useful), mark="two"),
        Series(name="lanes that the shape leaves empty", values=tuple(idle), mark="three"),
    ]
    for stall, mark in _WAITS.items():
        values = tuple(stalls.get(stall.value, 0.0) for stalls in spent)
        if any(values):
            parts.append(Series(name=f"waits: {stall.value}", values=values, mark=mark))
    labels = [str(layer.get("name", "")) for layer in layers]
    return stacked(f"what the array's cycles went to in {name}", labels, parts, "cycles")


def _uses(name: str, network: dict[str, Any]) -> Markup:
    rows = [
        Bar(
            label=str(layer.get("name", "")),
            values=(layer["utilisation"],),
            marks=("two",),
            text=f"{100 * layer['utilisation']:.1f} %",
        )
        for layer in _layers(network, "utilisation")
    ]
    return bars(f"use of the array in each layer of {name}", rows, most=1.0) if rows else Markup("")


def _roofline(name: str, network: dict[str, Any]) -> Markup:
    memory = network.get("memory")
    rate = number(memory.get("bytes_per_cycle")) if isinstance(memory, dict) else None
    peak = number(network.get("products_per_cycle"))
    points = []
    for layer in _layers(network, "products", "cycles_predicted"):
        moved = sum(_numbers(layer, "bytes").values())
        if moved and layer["products"] and layer["cycles_predicted"]:
            points.append(
                Point(
                    label="",
                    x=layer["products"] / moved,
                    y=layer["products"] / layer["cycles_predicted"],
                    hint=str(layer.get("name", "")),
                )
            )
    if not points or not rate or not peak:
        return Markup("")
    knee = peak / rate
    low, high = min(knee, *(p.x for p in points)) / 2, max(knee, *(p.x for p in points)) * 2
    across = [float(x) for x in np.geomspace(low, high, 64)]
    roofs = {
        f"{peak:,} products a cycle": (across, [peak] * len(across)),
        f"{rate} bytes a cycle each way": ([low, knee], [low * rate, peak]),
    }
    return scatter(
        f"roofline of {name}",
        points,
        Axes(
            across="products for a byte of memory traffic",
            up="products a cycle",
            decades=True,
            decades_up=True,
            roofs=roofs,
        ),
    )


def _activity(name: str, network: dict[str, Any]) -> Markup:
    activity = network.get("activity")
    cycles = number(network.get("cycles_predicted"))
    if not isinstance(activity, dict) or cycles is None:
        return Markup("")
    series = [
        Series(name=unit, values=tuple(activity[unit]), mark=mark)
        for unit, mark in _UNITS.items()
        if isinstance(activity.get(unit), list)
        and all(number(share) is not None for share in activity[unit])
    ]
    if not series or len({len(one.values) for one in series}) != 1:
        return Markup("")
    bins = len(series[0].values)
    places = [(place + 0.5) * cycles / bins for place in range(bins)]
    return lines(f"work of each unit over time in {name}", places, series, "cycles")


def _traffic(name: str, network: dict[str, Any]) -> Markup:
    moved = _numbers(network, "traffic")
    total = sum(moved.values())
    rows = [
        Bar(
            label=kind,
            values=(moved[kind],),
            marks=(mark,),
            text=f"{moved[kind]:,.0f} bytes ({100 * moved[kind] / total:.1f} %)",
        )
        for kind, mark in _OPERANDS.items()
        if moved.get(kind)
    ]
    return bars(f"bytes between engine and memory in {name}", rows) if rows else Markup("")


def _resources(name: str, network: dict[str, Any]) -> Markup:
    known = network.get("synthesis")
    if not isinstance(known, dict):
        known = network.get("area")
    if not isinstance(known, dict):
        return Markup("")
    total, budget = _numbers(known, "total"), _numbers(known, "budget")
    rows = []
    for kind in RESOURCES:
        if kind in total and budget.get(kind):
            share = total[kind] / budget[kind]
            rows.append(
                Bar(
                    label=kind,
                    values=(min(share, 1.0),),
                    marks=("over" if share > 1 else "two",),
                    text=f"{total[kind]:,.0f} of {budget[kind]:,.0f} ({100 * share:.1f} %)",
                )
            )
    title = f"resources of {name} against the device's budget"
    return bars(title, rows, most=1.0) if rows else Markup("")

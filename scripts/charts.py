"""The charts of reports, drawn by Plotly: parts of a page that holds its script once."""

from __future__ import annotations

import hashlib
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import plotly.io
from markupsafe import Markup
from plotly.offline import get_plotlyjs

COLOURS: Final = {
    "one": "#b4446c",
    "two": "#3b7ea1",
    "dim": "#b9bfcc",
    "over": "#b3261e",
    "three": "#7a9e3f",
    "four": "#d08a2e",
    "five": "#6d5a9c",
    "six": "#4aa39a",
    "seven": "#8c8c8c",
    "eight": "#c46a4a",
}
"""By the name of the mark."""

_ROW: Final = 22
_MARGIN: Final = 24
_ROOFS: Final = ("four", "three")


def script() -> Markup:
    """Return the script that all charts of a page need: some 5 MB, once."""
    return Markup("<script>{}</script>").format(Markup(get_plotlyjs()))


def _chart(
    title: str,
    traces: Sequence[Any],
    height: int,
    key: Sequence[tuple[str, str]] = (),
    **layout: Any,
) -> Markup:
    """Return a figure as part of a page; ``title`` is for who cannot see it.

    ``key`` holds a name and the name of its colour for each kind of mark: it stands above the
    drawing, where it takes the lines that it needs on any screen and on paper.
    """
    across, up = layout.pop("xaxis", {}), layout.pop("yaxis", {})
    named = "title" in across
    # Widths are known here: Plotly's own way, by trial, gives up on some screens.
    widest = max(map(len, up.get("ticktext", ())), default=8)
    grid = {"gridcolor": "rgba(128,128,128,.25)", "zeroline": False}
    # As a dictionary: the classes of plotly check each value, which takes ten times as long.
    figure = {
        "data": list(traces),
        "layout": {
            "height": height + (36 if named else 0),
            "margin": {"l": 10 + 7 * widest, "r": 12, "t": 8, "b": 44 if named else 8},
            "showlegend": False,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 12},
            "xaxis": across | grid,
            "yaxis": up | grid,
            **layout,
        },
    }
    # Named by what it shows: the same report is the same bytes.
    name = hashlib.sha256(f"{title}{figure!r}".encode()).hexdigest()[:16]
    drawn = plotly.io.to_html(
        figure,
        include_plotlyjs=False,
        validate=False,
        full_html=False,
        div_id=f"chart-{name}",
        config={"responsive": True, "displaylogo": False, "displayModeBar": False},
    )
    names = Markup("").join(
        Markup('<span><i style="background: {}"></i>{}</span>').format(COLOURS[mark], name)
        for name, mark in key
    )
    return Markup('{}<div class="chart" role="img" aria-label="{}">{}</div>').format(
        Markup('<p class="legend">{}</p>').format(names) if key else "", title, Markup(drawn)
    )


def _text(label: str) -> str:
    """Return a label as Plotly shows it: it takes some markup for its own."""
    return html.escape(label, quote=False)


def _rows(labels: Sequence[str]) -> dict[str, Any]:
    """Return the axis of a bar for each of ``labels``, from above, equal ones apart."""
    places = list(range(len(labels)))
    return {
        "autorange": "reversed",
        "tickvals": places,
        "ticktext": [_text(_short(label)) for label in labels],
    }


def _short(label: str) -> str:
    return label if len(label) <= 24 else f"{label[:11]}…{label[-12:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row: a label, the length of each of its bars, and the text after them.

    ``marks`` name their colours.
    """

    label: str
    values: tuple[float, ...]
    marks: tuple[str, ...]
    text: str


def bars(
    title: str, rows: Sequence[Bar], most: float | None = None, names: Sequence[str] = ()
) -> Markup:
    """Return horizontal bars; ``most`` is the value that fills the width.

    ``names`` are those of the bars of a row, for the legend.
    """
    count = max((len(row.values) for row in rows), default=0)
    traces = []
    for number in range(count):
        mine = [(place, row) for place, row in enumerate(rows) if number < len(row.values)]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "y": [place for place, _ in mine],
                "x": [row.values[number] for _, row in mine],
                "marker": {"color": [COLOURS[row.marks[number]] for _, row in mine]},
                "text": [_text(row.text) if number == count - 1 else "" for _, row in mine],
                "textposition": "outside",
                "cliponaxis": False,
                "hovertext": [f"{_text(row.label)}: {_text(row.text)}" for _, row in mine],
                "hoverinfo": "text",
            }
        )
    longest = max((value for row in rows for value in row.values), default=1.0)
    axis = {"range": [0, (most or longest or 1.0) * 1.35], "showticklabels": False}
    height = _MARGIN + len(rows) * max(_ROW, 12 * count + 6)
    marks = rows[0].marks if rows else ()
    return _chart(
        title,
        traces,
        height,
        list(zip(names, marks, strict=False)),
        xaxis=axis,
        yaxis=_rows([row.label for row in rows]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A named sequence of numbers, and the name of its colour."""

    name: str
    values: tuple[float, ...]
    mark: str


def stacked(title: str, labels: Sequence[str], parts: Sequence[Series], unit: str) -> Markup:
    """Return a bar for each of ``labels``, made of ``parts`` that add up."""
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "y": list(range(len(labels))),
            "x": list(part.values),
            "marker": {"color": COLOURS[part.mark]},
            "hovertext": [
                f"{_text(label)}: {part.name} {value:,.0f} {unit}"
                for label, value in zip(labels, part.values, strict=True)
            ],
            "hoverinfo": "text",
        }
        for part in parts
    ]
    return _chart(
        title,
        traces,
        _MARGIN + _ROW * len(labels),
        [(part.name, part.mark) for part in parts],
        barmode="stack",
        xaxis={"title": {"text": unit}},
        yaxis=_rows(labels),
    )


def lines(title: str, places: Sequence[float], series: Sequence[Series], across: str) -> Markup:
    """Return each of ``series``, shares from 0 to 1, over ``places``."""
    traces = [
        {
            "type": "scatter",
            "x": list(places),
            "y": [100 * value for value in one.values],
            "mode": "lines",
            "line": {"color": COLOURS[one.mark], "width": 1.5},
            "hovertemplate": f"{one.name} %{{y:.0f}} %<extra></extra>",
        }
        for one in series
    ]
    axes = {
        "xaxis": {"title": {"text": across}},
        "yaxis": {"title": {"text": "busy, %"}, "range": [0, 105]},
    }
    return _chart(title, traces, 280, [(one.name, one.mark) for one in series], **axes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of a :func:`scatter`, labelled or with "" for none.

    ``spread`` is the height of the line through it, ``mark`` names its colour, ``hint`` what
    appears under the pointer. The label stands to its right, or to its left where it is
    ``before`` it.
    """

    label: str
    x: float
    y: float
    spread: float = 0.0
    mark: str = "two"
    hint: str = ""
    before: bool = False


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats: none is as far left and as high, or better."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What the axes of a :func:`scatter` show: their names, and whether each is logarithmic.

    No line goes beyond ``most`` upwards.
    """

    across: str
    up: str
    decades: bool = False
    decades_up: bool = False
    most: float = math.inf
    roofs: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)


def scatter(title: str, points: Sequence[Point], axes: Axes) -> Markup:
    """Return ``points`` with both axes, and ``axes.roofs``: lines by name."""
    traces: list[Any] = [
        {
            "type": "scatter",
            "x": list(xs),
            "y": list(ys),
            "mode": "lines",
            "line": {"color": COLOURS[mark]},
            "hoverinfo": "skip",
        }
        for (xs, ys), mark in zip(axes.roofs.values(), _ROOFS, strict=False)
    ]
    traces.append(
        {
            "type": "scatter",
            "x": [point.x for point in points],
            "y": [point.y for point in points],
            "mode": "markers+text",
            "marker": {"color": [COLOURS[point.mark] for point in points], "size": 8},
            "text": [_text(point.label) for point in points],
            "textposition": ["middle left" if p.before else "middle right" for p in points],
            "hovertext": [_text(point.hint or point.label) for point in points],
            "hovertemplate": "%{hovertext}: %{x:.4g}, %{y:.4g}<extra></extra>",
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [min(p.spread / 2, max(axes.most - p.y, 0)) for p in points],
                "arrayminus": [p.spread / 2 for p in points],
                "visible": any(p.spread for p in points),
                "color": COLOURS["dim"],
            },
            "cliponaxis": False,
        }
    )
    across: dict[str, Any] = {
        "title": {"text": axes.across},
        "type": "log" if axes.decades else "linear",
    }
    if axes.decades and any(point.before for point in points):
        xs = [point.x for point in points]  # room for labels to the left of the first
        across["range"] = [math.log10(min(xs) / 2.5), math.log10(max(xs) * 1.3)]
    return _chart(
        title,
        traces,
        330,
        list(zip(axes.roofs, _ROOFS, strict=False)),
        xaxis=across,
        yaxis={"title": {"text": axes.up}, "type": "log" if axes.decades_up else "linear"},
    )

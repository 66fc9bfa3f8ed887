"""Charts as inline SVG, for the report: a page that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 640
LABEL = 150
ROW = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row: a label, the length of each of its bars, and the text after them.

    ``marks`` are the classes of the bars in the report's style sheet.
    """

    label: str
    values: tuple[float, ...]
    marks: tuple[str, ...]
    text: str


def bars(title: str, rows: Sequence[Bar], most: float | None = None) -> Markup:
    """Return an SVG of horizontal bars; ``most`` is the value that fills the width."""
    longest = max((value for row in rows for value in row.values), default=1)
    scale = (WIDTH - LABEL - 150) / max(most or longest, 1e-12)
    height = ROW * len(rows) + 6
    parts = [
        Markup('<svg role="img" viewBox="0 0 {} {}" aria-label="{}">').format(WIDTH, height, title)
    ]
    for index, row in enumerate(rows):
        parts.append(_row(row, ROW * index + 4, scale))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _row(row: Bar, top: int, scale: float) -> Markup:
    thick = (ROW - 8) / len(row.values)
    shapes = [
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
            LABEL - 8, top + 14, row.label
        )
    ]
    end = 0.0
    for index, (value, mark) in enumerate(zip(row.values, row.marks, strict=True)):
        length = max(value * scale, 0.5)
        end = max(end, length)
        shapes.append(
            Markup('<rect class="{}" x="{}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                mark, LABEL, top + index * thick, length, thick - 0.5
            )
        )
    shapes.append(
        Markup('<text x="{:.1f}" y="{}">{}</text>').format(LABEL + end + 6, top + 14, row.text)
    )
    return Markup("").join(shapes)


def flow(stages: Sequence[tuple[str, str]]) -> Markup:
    """Return an SVG of boxes joined by arrows: (what, what came of it) from left to right."""
    width, gap = 118, 18
    total = len(stages) * (width + gap) - gap + 4
    parts = [Markup('<svg role="img" viewBox="0 0 {} 66" aria-label="flow">').format(total)]
    for index, (title, text) in enumerate(stages):
        left = index * (width + gap) + 2
        parts.append(
            Markup(
                '<rect class="box" x="{0}" y="4" width="{1}" height="56" rx="6"/>'
                '<text x="{2}" y="28" text-anchor="middle" class="strong">{3}</text>'
                '<text x="{2}" y="46" text-anchor="middle" class="small">{4}</text>'
            ).format(left, width, left + width / 2, title, text)
        )
        if index:
            parts.append(
                Markup('<path class="arrow" d="M{} 32 h{} m-5 -4 l5 4 l-5 4"/>').format(
                    left - gap + 2, gap - 4
                )
            )
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of a :func:`scatter`, labelled or with "" for none.

    ``spread`` is the height of the line through it, ``mark`` its class in the style sheet,
    ``hint`` what appears under the pointer. The label stands to its right, or to its left where
    it is ``before`` it.
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


def scatter(
    title: str,
    points: Sequence[Point],
    across: str,
    up: str,
    *,
    decades: bool = False,
    most: float = math.inf,
) -> Markup:
    """Return an SVG of ``points`` with both axes, named ``across`` and ``up``.

    Labels are moved down where they would overlap. With ``decades`` the first axis, which is
    above 0 then, is logarithmic. No line goes beyond ``most`` upwards.
    """
    height, left, bottom = 330, 60, 40
    xs = [point.x for point in points] or [1.0]
    ends = [(point.y - point.spread / 2, min(point.y + point.spread / 2, most)) for point in points]
    ys = [end for both in ends for end in both] or [0.0]
    if decades:
        x_axis = _decades(min(xs), max(xs), left, WIDTH - 10)
    else:
        x_axis = _axis(0.0, max(xs) * 1.25, left, WIDTH - 10)
    y_axis = _axis(min(ys), max(ys), height - bottom, 12)
    parts = [
        Markup('<svg role="img" viewBox="0 0 {} {}" aria-label="{}">').format(WIDTH, height, title)
    ]
    for value, place in x_axis.ticks():
        parts.append(
            Markup(
                '<path class="arrow" d="M{0:.1f} 12 V{1}" opacity=".15"/>'
                '<text x="{0:.1f}" y="{2}" text-anchor="middle" class="small">{3:g}</text>'
            ).format(place, height - bottom, height - bottom + 15, value)
        )
    for value, place in y_axis.ticks():
        parts.append(
            Markup(
                '<path class="arrow" d="M{0} {1:.1f} H{2}" opacity=".15"/>'
                '<text x="{3}" y="{4:.1f}" text-anchor="end" class="small">{5:g}</text>'
            ).format(left, place, WIDTH - 10, left - 6, place + 4, value)
        )
    parts.append(
        Markup(
            '<text x="{}" y="{}" text-anchor="middle">{}</text>'
            '<text x="14" y="{}" text-anchor="middle" transform="rotate(-90 14 {})">{}</text>'
        ).format((left + WIDTH) / 2, height - 6, across, height / 2, height / 2, up)
    )
    lowest = -math.inf
    pairs = sorted(zip(points, ends, strict=True), key=lambda pair: (-pair[0].y, pair[0].x))
    for point, (low, high) in pairs:
        x, y = x_axis.place(point.x), y_axis.place(point.y)
        top = y_axis.place(high)
        parts.append(
            Markup(
                '<path class="arrow" d="M{0:.1f} {1:.1f} v{2:.1f}"/>'
                '<circle class="{4}" cx="{0:.1f}" cy="{3:.1f}" r="4"><title>{5}</title></circle>'
            ).format(x, top, y_axis.place(low) - top, y, point.mark, point.hint or point.label)
        )
        if point.label:
            lowest = max(y + 4, lowest + 12)
            parts.append(
                Markup(
                    '<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="small">{}</text>'
                ).format(
                    x - 8 if point.before else x + 8,
                    lowest,
                    "end" if point.before else "start",
                    point.label,
                )
            )
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """Real numbers between two places of a drawing, with those that are marked."""

    marks: tuple[float, ...]
    begin: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where ``value`` lies."""
        low, high, at = self.marks[0], self.marks[-1], value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return self.begin + (at - low) / (high - low) * (self.end - self.begin)

    def ticks(self) -> list[tuple[float, float]]:
        """Return each number that is marked, with its place."""
        return [(value, self.place(value)) for value in self.marks]


def _axis(low: float, high: float, begin: float, end: float) -> _Axis:
    """Return an axis of some five round steps that holds ``low`` to ``high``."""
    rough = max(high - low, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    least = math.floor(low / step + 1e-9)
    most = max(math.ceil(high / step - 1e-9), least + 1)
    marks = tuple(round(index * step, 10) for index in range(least, most + 1))
    return _Axis(marks=marks, begin=begin, end=end)


def _decades(low: float, high: float, begin: float, end: float) -> _Axis:
    """Return a logarithmic axis with marks at 1, 2 and 5 of each decade, ``low`` above 0.

    It begins at half of ``low`` or less, which leaves room for a label.
    """
    first, last = math.floor(math.log10(low / 2)), math.ceil(math.log10(high))
    known = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    least = max(value for value in known if value <= low / 2)
    most = min(value for value in known if value >= high and value > least)
    marks = tuple(value for value in known if least <= value <= most)
    return _Axis(marks=marks, begin=begin, end=end, log=True)

"""Bar charts as inline SVG, for the report."""

from __future__ import annotations

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

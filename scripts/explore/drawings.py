"""Drawings of mappings as inline SVG: loop nests as boxes within boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from markupsafe import Markup

_LINE: Final = 22
_INSET: Final = 10
_WIDTH: Final = 560

_TITLES: Final = {
    "memory": "from memory, tile by tile",
    "array": "on the array, step by step",
    "space": "at once",
}


def loop_boxes(name: str, nest: Sequence[dict[str, Any]]) -> Markup:
    """Return a nest as SVG: each loop a box round what it repeats, the outermost first.

    ``nest`` holds levels with their loops as :func:`celosia.scripts.explore.results.summarise`
    gives them.
    """
    lines = [line for level in nest for line in _lines(level)]
    height = len(lines) * (_LINE + 4) + 8
    parts = [
        Markup('<svg class="drawing" role="img" viewBox="0 0 {} {}" aria-label="{}">').format(
            _WIDTH, height, f"loops of {name}"
        )
    ]
    for depth, (text, kind) in enumerate(lines):
        inset = depth * _INSET
        parts.append(
            Markup(
                '<rect class="nest {}" x="{}" y="{}" width="{}" height="{}" rx="4"/>'
                '<text x="{}" y="{}" class="small">{}</text>'
            ).format(
                kind,
                inset + 1,
                depth * _LINE + 2,
                _WIDTH - 2 * inset - 2,
                height - depth * (_LINE + 4) - 4,
                inset + 8,
                depth * _LINE + 17,
                text,
            )
        )
    return Markup("").join([*parts, Markup("</svg>")])


def _lines(level: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the text and the class of each box of a level."""
    kind, title = level["name"], _TITLES[level["name"]]
    loops = level["loops"]
    if kind == "space":
        sizes = " x ".join(f"{loop['dimension']} {loop['count']}" for loop in loops)
        return [(f"{title}: {sizes}", kind)]
    if not loops:
        return [(f"{title}: one", kind)]
    return [(f"{_loop(loop)} ({title})", kind) for loop in loops]


def _loop(loop: dict[str, Any]) -> str:
    text = f"{loop['dimension']}: {loop['count']} times {loop['step']}"
    return text if loop["last"] == loop["step"] else f"{text}, the last {loop['last']}"

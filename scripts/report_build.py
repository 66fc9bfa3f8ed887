"""The page of a build: what it takes of its part, and whether its timing is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from celosia.fpga.boards import BOARDS
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file
from celosia.scripts.pages import number, render_page

Tile = tuple[str, float | None, str]
"""What a number is, the number (None: not known), and its unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What the page shows.

    ``resources`` has the amount of each kind, and what the part has of it (None: not known).
    """

    name: str
    place: str
    met: bool
    how: str
    made_with: tuple[str, ...]
    tiles: tuple[Tile, ...]
    resources: tuple[tuple[str, float, float | None], ...]


def _is_amount(value: Any) -> bool:
    found = number(value)
    return found is not None and math.isfinite(found) and found >= 0


def _is_slack(value: Any) -> bool:
    found = number(value)
    return value is None or (found is not None and math.isfinite(found))


_RULES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "a text": lambda value: isinstance(value, str),
    "true or false": lambda value: isinstance(value, bool),
    "a number from 0": _is_amount,
    "a number from 0 or null": lambda value: value is None or _is_amount(value),
    "a number or null": _is_slack,
    "numbers from 0 by name": lambda value: (
        isinstance(value, dict) and all(map(_is_amount, value.values()))
    ),
    "a list of texts": lambda value: (
        isinstance(value, list) and all(isinstance(text, str) for text in value)
    ),
}

_KINDS: Final = ("lut", "ff", "dsp", "bram", "uram")

_AREA: Final = {
    **dict.fromkeys(("accelerator", "hash", "board", "part", "vivado"), "a text"),
    **dict.fromkeys(("clock_asked_mhz", "clock_mhz", *_KINDS), "a number from 0"),
    **dict.fromkeys(("setup_slack_ns", "hold_slack_ns"), "a number or null"),
    "watts": "a number from 0 or null",
    **dict.fromkeys(("timing_met", "routed"), "true or false"),
}
_SYSTEM: Final = {**_AREA, "strategy": "a text", "strategies_tried": "a number from 0"}

_BITSTREAM: Final = {
    **dict.fromkeys(("accelerator", "bitstream", "device", "part"), "a text"),
    **dict.fromkeys(("bytes", "fmax_mhz", "clock_mhz", "memory_bytes"), "a number from 0"),
    **dict.fromkeys(("used", "budget"), "numbers from 0 by name"),
    "meets_clock": "true or false",
    "tools": "a list of texts",
}

_NEEDED: Final[Mapping[str, Mapping[str, str]]] = {
    "area": _AREA, "system": _SYSTEM, "bitstream": _BITSTREAM,
}  # fmt: skip
"""What the report of each kind of build holds: what ``vivado/tcl/report.tcl`` writes, and
:meth:`celosia.fpga.ecp5.Bitstream.as_dict` returns."""


def is_build(summary: dict[str, Any]) -> bool:
    """Whether a summary is one of a build: its ``kind`` says so."""
    kind = summary.get("kind")
    return isinstance(kind, str) and kind in _NEEDED


def check_build(summary: dict[str, Any], path: Path) -> None:
    """Refuse the summary of a build, from the file ``path``, that lacks something.

    Raises
    ------
    CelosiaError
        When a value is missing or of another kind; the message names it.
    """
    for name, rule in _NEEDED[summary["kind"]].items():
        if name not in summary:
            raise CelosiaError(f"{path} lacks {name!r}, {rule}: make the build's report again")
        if not _RULES[rule](summary[name]):
            raise CelosiaError(
                f"{path}: {name!r} must be {rule}, not {summary[name]!r}: make the build's report "
                "again"
            )


def write_build(summary: dict[str, Any], path: str | Path) -> None:
    """Write the page of a build, whose summary :func:`check_build` took, to ``path``.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    build = _bitstream(summary) if summary["kind"] == "bitstream" else _vivado(summary)
    page = render_page("build.html", build=build)
    with atomic_file(path) as draft:
        draft.write_text(page, encoding="utf-8")


def _vivado(summary: dict[str, Any]) -> Build:
    board = BOARDS.get(summary["board"])
    there = {} if board is None else board.device.budget.as_dict()
    if summary["kind"] == "system":
        tried = summary["strategies_tried"]
        how = (
            f"A system with the engine, placed and routed with strategy {summary['strategy']!r}, "
            f"the last of {tried:g} that {'was' if tried == 1 else 'were'} tried."
        )
    else:
        how = "The engine alone, synthesised and not placed: delays of wires are estimates."
    return Build(
        name=summary["accelerator"],
        place=f"{summary['board']} ({summary['part']})",
        met=summary["timing_met"],
        how=f"{how} Its hash is {summary['hash']}.",
        made_with=(f"Vivado {summary['vivado']}",),
        tiles=(
            ("clock asked for", summary["clock_asked_mhz"], "MHz"),
            ("clock", summary["clock_mhz"], "MHz"),
            ("worst slack of setup", summary["setup_slack_ns"], "ns"),
            ("worst slack of hold", summary["hold_slack_ns"], "ns"),
            ("power by Vivado's estimate", summary["watts"], "W"),
        ),
        resources=tuple((kind, summary[kind], there.get(kind) or None) for kind in _KINDS),
    )


def _bitstream(summary: dict[str, Any]) -> Build:
    return Build(
        name=summary["accelerator"],
        place=f"{summary['device']} ({summary['part']})",
        met=summary["meets_clock"],
        how=f"{summary['bitstream']}: a system with the engine, on-chip memory and a serial host "
        "link, placed and routed; it was not loaded into a board here.",
        made_with=tuple(summary["tools"]),
        tiles=(
            ("fastest clock by nextpnr's estimate", summary["fmax_mhz"], "MHz"),
            ("clock of the board", summary["clock_mhz"], "MHz"),
            ("memory", summary["memory_bytes"] / 1024, "KiB"),
            ("bitstream", summary["bytes"], "bytes"),
        ),
        resources=tuple(
            (kind, used, summary["budget"].get(kind))
            for kind, used in summary["used"].items()
            if used or kind in summary["budget"]
        ),
    )

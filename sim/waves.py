"""Views of a trace: which signals GTKWave and Surfer show, where, with the cursor set."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from celosia.dataflow.descriptors import Unit
from celosia.models.files import atomic_file
from celosia.rtl.core import core_name, core_ports
from celosia.sim.locate import Location
from celosia.sim.run import Simulator

_CYCLE: Final = 10
"""Time units of a cycle in a trace."""

_GTKWAVE_BIT, _GTKWAVE_HEX, _GTKWAVE_TEXT = "@28", "@22", "@200"
_MARKERS: Final = 27
"""Times in a line of GTKWave's: the primary marker, and those of the letters."""

_HANDSHAKES: Final = re.compile(r"aclk|m_axi_\w+_(ar|r|aw|w|b)(valid|ready|addr|data|last)")

_AROUND: Final = {
    Unit.LOAD: ("load_queue", "load", "activations_buffer", "weights_buffer", "constants_buffer"),
    Unit.COMPUTE: ("compute_queue", "compute", "activations_buffer", "weights_buffer", "array"),
    Unit.POST: ("post_queue", "post", "constants_buffer", "residuals_buffer", "output_buffer"),
    Unit.STORE: ("store_queue", "store", "output_buffer"),
}
"""The instances inside the engine whose ports say what a unit does."""

_KEYWORDS: Final = frozenset({"signal"})
"""Ports that Verilator calls otherwise: they mean something in C++."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """The files of a trace: for GTKWave (``gtkwave FILE.gtkw``) and Surfer (``surfer -c FILE``)."""

    trace: Path
    gtkwave: Path
    surfer: Path

    def __str__(self) -> str:
        return f"gtkwave {self.gtkwave}, or surfer -c {self.surfer}"

    def as_dict(self) -> dict[str, Any]:
        """Return the paths as JSON values."""
        return {
            "trace": str(self.trace),
            "gtkwave": str(self.gtkwave),
            "surfer": str(self.surfer),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One signal of a trace: its path, and its bits."""

    path: str
    bits: int


def write_views(
    simulator: Simulator, location: Location, ends: tuple[int, int], unit: Unit | None
) -> Views:
    """Write views of the trace of ``location``, beside it.

    Parameters
    ----------
    simulator : Simulator
        What was traced.
    location : Location
        Of the trace.
    ends : (int, int)
        Cycles that the cursor and a marker are set to.
    unit : Unit or None
        Whose signals are shown; None: those of all units.

    Raises
    ------
    ValueError
        When ``location`` has no trace.
    OSError
        When a file cannot be written.
    """
    if location.trace is None:
        raise ValueError("location must have a trace")
    trace = location.trace
    groups = [(title, list(signals)) for title, signals in _groups(simulator, unit)]
    begin, end = (location.first_time + _CYCLE * (cycle - location.first) for cycle in ends)
    views = Views(
        trace=trace, gtkwave=trace.with_suffix(".gtkw"), surfer=trace.with_suffix(".sucl")
    )
    for path, text in (
        (views.gtkwave, _gtkwave(trace, groups, location.first_time, (begin, end))),
        (views.surfer, _surfer(trace, groups, (begin, end))),
    ):
        with atomic_file(path) as draft:
            draft.write_text(text, encoding="utf-8")
    return views


def _groups(simulator: Simulator, unit: Unit | None) -> Iterator[tuple[str, Iterator[Signal]]]:
    top = f"engine.{core_name(simulator.accelerator)}"
    ports = ((name, bits) for name, bits, _ in core_ports(simulator.accelerator))
    yield (
        "memory port",
        (Signal(path=f"{top}.{n}", bits=bits) for n, bits in ports if _HANDSHAKES.fullmatch(n)),
    )
    modules = _modules(simulator.verilog)
    instances = {
        name: module
        for module, name in re.findall(r"^  (\w+) (\w+) \($", modules.get("engine", ""), re.M)
    }
    shown = _AROUND if unit is None else {unit: _AROUND[unit]}
    for name in dict.fromkeys(name for names in shown.values() for name in names):
        if name in instances:
            signals = _ports(modules[instances[name]])
            yield (
                name,
                (Signal(path=f"{top}.engine.{name}.{port}", bits=bits) for port, bits in signals),
            )


def _modules(verilog: str) -> dict[str, str]:
    """Return the text of each module by its name."""
    found = re.finditer(r"^module (\w+).*?^endmodule", verilog, re.M | re.S)
    return {match[1]: match[0] for match in found}


def _ports(module: str) -> list[tuple[str, int]]:
    """Return name and bits of each port of a module, in their order."""
    found = re.findall(
        r"^  (?:input|output)(?: reg)? (?:\[(\d+):0\] )?(\w+)(?: = [^;]*)?;", module, re.M
    )
    ports = {name: int(high or 0) + 1 for high, name in found if name not in _KEYWORDS}
    order = re.search(r"\((.*?)\);", module, re.S)
    names = re.findall(r"\w+", order[1]) if order else []
    return [(name, ports[name]) for name in names if name in ports and name not in ("clk", "rst")]


def _gtkwave(
    trace: Path,
    groups: list[tuple[str, list[Signal]]],
    first: int,
    marks: tuple[int, int],
) -> str:
    markers = [str(mark) for mark in marks] + ["-1"] * (_MARKERS - len(marks))
    lines = [
        f'[dumpfile] "{trace.resolve()}"',
        f"[timestart] {first}",
        "[size] 1600 900",
        "[pos] -1 -1",
        f"*-7.000000 {' '.join(markers)}",
        "[sst_width] 240",
        "[signals_width] 320",
    ]
    for title, signals in groups:
        lines += [_GTKWAVE_TEXT, f"-{title}"]
        for signal in signals:
            flag = _GTKWAVE_HEX if signal.bits > 1 else _GTKWAVE_BIT
            bits = f"[{signal.bits - 1}:0]" if signal.bits > 1 else ""
            lines += [flag, f"{signal.path}{bits}"]
    return "\n".join(lines) + "\n"


def _surfer(trace: Path, groups: list[tuple[str, list[Signal]]], marks: tuple[int, int]) -> str:
    lines = [f"load_file {trace.resolve()}"]
    for title, signals in groups:
        lines.append(f"divider_add {title}")
        lines += [f"variable_add {signal.path}" for signal in signals]
    lines += ["zoom_fit", f"cursor_set {marks[0]}"]
    return "\n".join(lines) + "\n"

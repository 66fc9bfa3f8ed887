"""A timeline as Chrome trace events: a JSON file that https://ui.perfetto.dev opens.

A cycle is a microsecond there. The format is the "Trace Event Format" of Chromium's project.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from celosia.dataflow.descriptors import Unit
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import BaseProgram, Program
from celosia.dataflow.timeline import Span, Timeline, timeline
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file

_PROCESS: Final = 1
_LAYERS: Final = 0
_WAITS: Final = 1 + len(Unit)
_TRACKS: Final = {
    _LAYERS: "layers",
    **{1 + unit.value: unit.name.lower() for unit in Unit},
    _WAITS: "array waits for",
}


def write_timeline(program: BaseProgram, memory: MemoryModel, path: str | Path) -> None:
    """Write what each unit does in ``program`` with ``memory`` to ``path``.

    A name that ends in ``.gz`` is compressed, which Perfetto opens too.

    Raises
    ------
    CelosiaError
        When the program is of an engine without the dense engine's units.
    OSError
        When the file cannot be written.
    """
    if not isinstance(program, Program):
        raise CelosiaError(
            f"accelerator {program.accelerator.name!r} has no timeline: only the dense engine has "
            "the units that it shows"
        )
    text = json.dumps(trace_events(program, timeline(program, memory), memory))
    with atomic_file(path) as draft:
        data = text.encode()
        # No time in the header: the same run gives the same bytes.
        draft.write_bytes(gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)


def trace_events(program: Program, found: Timeline, memory: MemoryModel) -> dict[str, Any]:
    """Return a timeline of ``program`` as the value of a trace file.

    Tracks: the layers by their stamps, the four units, what the array waits for; counters: the
    tokens, and the loads and stores in flight.
    """
    return {
        "traceEvents": [*_events(program, found)],
        "displayTimeUnit": "ms",
        "otherData": {
            "network": program.network,
            "accelerator": program.accelerator.name,
            "memory": f"{memory.latency},{memory.bytes_per_cycle},{memory.outstanding}",
            "cycles": found.cycles,
            "unit": "1 us is 1 cycle",
            "source": "timing model",
        },
    }


def _events(program: Program, found: Timeline) -> Iterator[dict[str, Any]]:
    title = f"{program.network} on {program.accelerator.name}"
    yield _named("process_name", title, 0)
    for track, name in _TRACKS.items():
        yield _named("thread_name", name, track)
        yield {
            "ph": "M", "pid": _PROCESS, "tid": track, "name": "thread_sort_index",
            "args": {"sort_index": track},
        }  # fmt: skip
    begin = 0
    for layer in found.layers:
        yield _slice(_LAYERS, layer.name, "layer", begin, begin + layer.cycles, {})
        begin += layer.cycles
    for span in found.spans:
        yield _span(program, span)
    for wait in found.waits:
        row = {} if wait.row is None else {"descriptor": wait.row}
        yield _slice(_WAITS, wait.stall.value, "wait", wait.begin, wait.end, row)
    for token, levels in found.levels.items():
        yield from _counter(f"token {token.name.lower()}", "count", levels)
    for unit in (Unit.LOAD, Unit.STORE):
        yield from _counter(f"{unit.name.lower()}s in flight", "descriptors", _flight(found, unit))


def _named(kind: str, name: str, track: int) -> dict[str, Any]:
    return {"ph": "M", "pid": _PROCESS, "tid": track, "name": kind, "args": {"name": name}}


def _slice(
    track: int, name: str, category: str, begin: int, end: int, values: dict[str, Any]
) -> dict[str, Any]:
    return {
        "ph": "X", "pid": _PROCESS, "tid": track, "ts": begin, "dur": end - begin,
        "name": name, "cat": category, "args": values,
    }  # fmt: skip


def _span(program: Program, span: Span) -> dict[str, Any]:
    layer = program.layers[span.layer].name
    values = {
        "layer": layer,
        "tile": span.tile,
        "descriptor": span.descriptor,
        "dispatched": span.dispatched,
        "accepted": span.accepted,
        "signalled": span.signalled,
    }
    name = f"{span.what} {layer} tile {span.tile}"
    return _slice(1 + span.unit.value, name, span.what, span.begin, span.end, values)


def _counter(
    name: str, value: str, levels: tuple[tuple[int, int], ...]
) -> Iterator[dict[str, Any]]:
    for cycle, level in ((0, 0), *levels):
        yield {"ph": "C", "pid": _PROCESS, "ts": cycle, "name": name, "args": {value: level}}


def _flight(found: Timeline, unit: Unit) -> tuple[tuple[int, int], ...]:
    """Return how many descriptors of ``unit`` are accepted and not done, at each change."""
    changes: dict[int, int] = {}
    for span in found.of(unit):
        for cycle, step in ((span.accepted + 1, 1), (span.signalled + 1, -1)):
            changes[cycle] = changes.get(cycle, 0) + step
    level, levels = 0, []
    for cycle in sorted(changes):
        if cycle < found.cycles and changes[cycle]:
            level += changes[cycle]
            levels.append((cycle, level))
    return tuple(levels)

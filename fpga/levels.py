"""Logic levels of a mapped design: the most cells that a signal passes from register to register.

A look-up table, a multiplexer behind tables (MUXF7 to 9), the arithmetic of a DSP block and a run
of carries count as one each, however long the run is (Vivado counts each CARRY8 of it). A path that
begins or ends at a port of the whole design has no register there and does not count. Modules are
looked at one by one, each once, and their paths put together bit for bit: what a flat netlist of
the same cells would say.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from celosia.fpga.tools import ToolFailedError

Pin = tuple[str, int]
"""A port's name and a bit of it."""

_NONE: Final = -1
_CLOCKS: Final = ("C", "CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK")
_REGISTERS: Final = (
    "FDRE",
    "FDSE",
    "FDCE",
    "FDPE",
    "RAMB18E2",
    "RAMB36E2",
    "RAMB18E1",
    "RAMB36E1",
    "URAM288",
)
_GATES: Final = (*(f"LUT{n}" for n in range(1, 7)), "LUT6_2", "INV", "MUXF7", "MUXF8", "MUXF9")
_SHIFTS: Final = ("SRL16E", "SRLC32E")
_NOTHING: Final = ("GND", "VCC", "BUFG", "$scopeinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The paths of one module, the modules inside it included.

    Attributes
    ----------
    inside : int
        Levels of the longest path between registers, 0 where there is none.
    ends : dict
        For each bit of an input that a register takes: the levels before it.
    starts : dict
        For each bit of an output that comes from a register: the levels behind it.
    through : dict
        For each bit of an input: the bits of outputs that follow it in the same cycle, with levels.
    """

    inside: int
    ends: dict[Pin, int]
    starts: dict[Pin, int]
    through: dict[Pin, dict[Pin, int]]

    def as_json(self) -> list[Any]:
        """Return the paths as JSON values, which :meth:`of_json` reads."""
        return [
            self.inside,
            [[*pin, n] for pin, n in self.ends.items()],
            [[*pin, n] for pin, n in self.starts.items()],
            [[*a, *b, n] for a, found in self.through.items() for b, n in found.items()],
        ]

    @classmethod
    def of_json(cls, value: list[Any]) -> Paths:
        """Return the paths that :meth:`as_json` wrote."""
        inside, ends, starts, through = value
        found: dict[Pin, dict[Pin, int]] = {}
        for a, i, b, j, levels in through:
            found.setdefault((a, i), {})[b, j] = levels
        return cls(
            inside=inside,
            ends={(name, bit): n for name, bit, n in ends},
            starts={(name, bit): n for name, bit, n in starts},
            through=found,
        )


@dataclass(slots=True)
class _Graph:
    """Nets of a module as nodes, with what leads from one to the next."""

    next: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    inside: int = 0

    def end(self, net: object, levels: int) -> None:
        if isinstance(net, int):
            self.ends[net] = max(levels, self.ends.get(net, _NONE))

    def start(self, net: object, levels: int) -> None:
        if isinstance(net, int):
            self.starts[net] = max(levels, self.starts.get(net, _NONE))

    def edge(self, source: object, target: object, levels: int) -> None:
        if isinstance(source, int) and isinstance(target, int):
            self.next.setdefault(source, []).append((target, levels))

    def order(self, module: str) -> dict[int, int]:
        """Return the place of each net behind all that lead to it."""
        waiting: dict[int, int] = {}
        for found in self.next.values():
            for target, _ in found:
                waiting[target] = waiting.get(target, 0) + 1
        nets = self.next.keys() | waiting.keys()
        ready = [net for net in nets if net not in waiting]
        places: dict[int, int] = {}
        while ready:
            net = ready.pop()
            places[net] = len(places)
            for target, _ in self.next.get(net, ()):
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
        if len(places) < len(nets):
            raise ToolFailedError(f"yosys left a loop of look-up tables in module {module}")
        return places

    def spread(self, starts: Mapping[int, int], places: Mapping[int, int]) -> dict[int, int]:
        """Return the most levels at every net that ``starts`` lead to."""
        levels = dict(starts)
        queue = [(places.get(net, 0), net) for net in levels]
        heapq.heapify(queue)
        done: set[int] = set()
        while queue:
            _, net = heapq.heappop(queue)
            if net in done:
                continue
            done.add(net)
            for target, more in self.next.get(net, ()):
                reached = levels[net] + more
                if reached > levels.get(target, _NONE):
                    levels[target] = reached
                    heapq.heappush(queue, (places[target], target))
        return levels


def module_paths(
    modules: Mapping[str, Any], names: list[str], known: Mapping[str, Paths]
) -> dict[str, Paths]:
    """Return the paths of the modules ``names`` of a netlist.

    Parameters
    ----------
    modules
        As ``write_json`` writes them.
    names
        What to look at; what is inside them too, unless it is known.
    known
        Paths of modules that the netlist only names.

    Raises
    ------
    ToolFailedError
        For a cell whose paths are not known, or a loop.
    """
    found = dict(known)

    def look(name: str) -> None:
        if name in found:
            return
        for cell in modules[name]["cells"].values():
            if cell["type"] in names:
                look(cell["type"])
        found[name] = _paths(name, modules[name], found)

    for name in names:
        look(name)
    return {name: found[name] for name in names}


def _paths(name: str, module: Mapping[str, Any], known: Mapping[str, Paths]) -> Paths:
    graph = _Graph()
    for cell in module["cells"].values():
        _add(graph, name, cell, known)
    places = graph.order(name)
    levels = graph.spread(graph.starts, places)
    inputs: dict[Pin, object] = {}
    outputs: dict[Pin, object] = {}
    for port, value in module["ports"].items():
        side = inputs if value["direction"] == "input" else outputs
        side.update({(port, bit): net for bit, net in enumerate(value["bits"])})
    ends: dict[Pin, int] = {}
    through: dict[Pin, dict[Pin, int]] = {}
    for pin, net in inputs.items():
        if not isinstance(net, int):
            continue
        reached = graph.spread({net: 0}, places)
        lasts = [n + graph.ends[other] for other, n in reached.items() if other in graph.ends]
        if lasts:
            ends[pin] = max(lasts)
        follow = {out: n for out, other in outputs.items() if (n := _at(reached, other)) >= 0}
        if follow:
            through[pin] = follow
    return Paths(
        inside=max(
            [graph.inside, *(levels[n] + more for n, more in graph.ends.items() if n in levels)]
        ),
        ends=ends,
        starts={pin: n for pin, net in outputs.items() if (n := _at(levels, net)) >= 0},
        through=through,
    )


def _at(levels: Mapping[int, int], net: object) -> int:
    """Return the levels at a net, below 0 at a constant and where nothing leads."""
    return levels.get(net, _NONE) if isinstance(net, int) else _NONE


def _add(graph: _Graph, module: str, cell: Mapping[str, Any], known: Mapping[str, Paths]) -> None:
    """Add what a cell leads from and to."""
    kind = cell["type"]
    if kind in known:
        _add_module(graph, cell["connections"], known[kind])
    elif kind in _REGISTERS:
        for net in _nets(cell, "input", lambda port: port not in _CLOCKS):
            graph.end(net, 0)
        for net in _nets(cell, "output"):
            graph.start(net, 0)
    elif kind in _GATES:
        for source in _nets(cell, "input"):
            for target in _nets(cell, "output"):
                graph.edge(source, target, 1)
    elif kind in ("CARRY4", "CARRY8"):
        _add_carry(graph, cell)
    elif kind == "DSP48E2":
        _add_dsp(graph, cell)
    elif kind in _SHIFTS or kind.startswith("RAM"):
        _add_table_memory(graph, cell)
    elif kind not in _NOTHING:
        raise ToolFailedError(
            f"yosys left a cell of type {kind} in module {module}: its paths are not known "
            "(celosia.fpga.levels)"
        )


def _nets(
    cell: Mapping[str, Any], direction: str, chosen: Callable[[str], bool] = lambda _: True
) -> Iterator[object]:
    """Yield the nets at the ports of ``direction`` that are ``chosen``."""
    for port, nets in cell["connections"].items():
        if cell["port_directions"][port] == direction and chosen(port):
            yield from nets


def _add_module(graph: _Graph, nets: Mapping[str, list[object]], paths: Paths) -> None:
    graph.inside = max(graph.inside, paths.inside)
    for (port, bit), levels in paths.ends.items():
        if port in nets:
            graph.end(nets[port][bit], levels)
    for (port, bit), levels in paths.starts.items():
        if port in nets:
            graph.start(nets[port][bit], levels)
    for (port, bit), found in paths.through.items():
        for (out, other), levels in found.items():
            if port in nets and out in nets:
                graph.edge(nets[port][bit], nets[out][other], levels)


def _add_carry(graph: _Graph, cell: Mapping[str, Any]) -> None:
    """Add a carry block: one level, but none from the block before it in the run."""
    nets = cell["connections"]
    outputs = list(zip(nets["O"], nets["CO"], strict=True))
    for place, pair in enumerate(outputs):
        for target in pair:
            for port in ("DI", "S"):
                for source in nets[port][: place + 1]:
                    graph.edge(source, target, 1)
            for port, levels in (("CI", 0), ("CYINIT", 1), ("CI_TOP", 1)):
                for source in nets.get(port, ()):
                    graph.edge(source, target, levels)


def _add_dsp(graph: _Graph, cell: Mapping[str, Any]) -> None:
    """Add a DSP block by its registers: what lies between two of them is one level."""
    counts = {
        name: int(str(value), 2) for name, value in cell["parameters"].items() if name in _DSP
    }
    product, total = bool(counts.get("MREG")), bool(counts.get("PREG"))
    factors = {
        port: any(counts.get(name) for name in names)
        for port, names in (("A", ("AREG", "ADREG")), ("D", ("DREG", "ADREG")), ("B", ("BREG",)))
    }
    nets = cell["connections"]
    outputs = [net for port in ("P", "PCOUT") for net in nets.get(port, ())]
    for port in ("A", "B", "C", "D", "PCIN"):
        kept = bool(counts.get("CREG")) if port == "C" else factors.get(port, False)
        stopped = total or (product and port in factors)
        for source in nets.get(port, ()):
            if kept or stopped:
                graph.end(source, 0 if kept else 1)
                continue
            for target in outputs:
                graph.edge(source, target, 1)
    if total or product or any(factors.values()):
        for target in outputs:
            graph.start(target, 0 if total else 1)
    if product or total:
        graph.inside = max(graph.inside, 1)


_DSP: Final = ("AREG", "ADREG", "BREG", "CREG", "DREG", "MREG", "PREG")


def _add_table_memory(graph: _Graph, cell: Mapping[str, Any]) -> None:
    """Add distributed memory: an address leads to what is read there, a write ends."""
    nets = cell["connections"]
    outputs = [port for port in nets if cell["port_directions"][port] == "output"]
    inputs = [port for port in nets if cell["port_directions"][port] == "input"]
    for net in _nets(cell, "input", lambda port: port not in _CLOCKS):
        graph.end(net, 0)
    for output in outputs:
        sources = [net for port in inputs if _reads(port, output) for net in nets[port]]
        for target in nets[output]:
            graph.start(target, 1)
            for source in sources:
                graph.edge(source, target, 1)


def _reads(address: str, output: str) -> bool:
    """Whether an input is the address of what stands at an output."""
    if address.startswith("ADDR"):
        return output.startswith("DO") and address[4:] == output[2:]
    if address.startswith("DPRA"):
        return output == "DPO"
    return address.startswith("A") and output != "DPO"

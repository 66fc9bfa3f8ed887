"""One layer on one memory hierarchy: the search, or the price of a mapping that is given."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from celosia.dataflow.hierarchy.architecture import Architecture, Factors
from celosia.dataflow.hierarchy.architecture_file import read_architecture
from celosia.dataflow.hierarchy.bulk import Bulk
from celosia.dataflow.hierarchy.export import Tool, export
from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.mapping import Mapping, occupancy
from celosia.dataflow.hierarchy.mapping_file import mapping_data, mapping_text, read_mapping
from celosia.dataflow.hierarchy.price import Price, objective_value, price
from celosia.dataflow.hierarchy.search import Solution, solve
from celosia.dataflow.search.objective import Objective
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_directory
from celosia.scripts.arguments import read_choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A mapping of a layer, its price, and what a search knows about it.

    Attributes
    ----------
    architecture : Architecture
    layer : Layer
    objective : Objective
    mapping : Mapping
    price : Price
    solution : Solution or None
        None when nothing was searched.
    factors : Factors or None
        Which tiles were tried.
    cpu_seconds : float
        Of the search, kernels being loaded.
    """

    architecture: Architecture
    layer: Layer
    objective: Objective
    mapping: Mapping
    price: Price
    solution: Solution | None
    factors: Factors | None
    cpu_seconds: float

    def summary(self) -> dict[str, Any]:
        """Return the figures, as JSON has them."""
        value = objective_value(self.objective, self.architecture, self.price)
        figures: dict[str, Any] = {
            "objective": self.objective.name,
            "value": number(value),
            "energy_pj": number(self.price.energy),
            "cycles": number(self.price.cycles),
            "edp": number(self.price.edp),
            "macs": self.price.macs,
            "compute_cycles": self.price.steps,
            "cpu_seconds": self.cpu_seconds,
        }
        if self.solution is not None and self.factors is not None:
            figures |= {
                "factors": self.factors.value,
                "lower_bound": number(self.solution.lower_bound),
                "gap": float(1 - self.solution.lower_bound / value) if value else 0.0,
                "relaxed_bound": number(self.solution.relaxed_bound),
                "proven": self.solution.proven,
                "mappings": self.solution.mappings,
                "priced": self.solution.priced,
            }
        return figures

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON has it."""
        return {
            "architecture": self.architecture.name,
            "comparison_only": self.architecture.comparison_only,
            "layer": str(self.layer),
            **self.summary(),
            "limits": {name: number(time) for name, time in self.price.times.items()},
            "accesses": [
                {
                    "level": entry.level,
                    "tensor": entry.tensor.value,
                    "reads": entry.reads,
                    "writes": entry.writes,
                }
                for entry in self.price.accesses
            ],
            "occupancy": occupancy(self.architecture, self.layer, self.mapping),
            "mapping": mapping_data(self.mapping),
        }

    @property
    def nest(self) -> str:
        """The mapping as people write loop nests."""
        return mapping_text(self.layer, self.mapping)


def map_layer(
    architecture: str | Path,
    layer: str,
    objective: str = "energy",
    *,
    factors: str | None = None,
    budget: int | None = None,
    workers: int = 1,
    tool: Tool | None = None,
    device: str | None = None,
) -> Mapped:
    """Return the best mapping of a layer, with its proof; see :func:`solve`.

    Parameters
    ----------
    architecture
        A TOML file, or the name of a shipped architecture.
    layer
        ``C,K,P,Q,R,S,stride``.
    objective
        As :meth:`Objective.parse` takes it.
    factors, budget, workers
        As :func:`solve` takes them; None: what the architecture says.
    tool
        Only mappings that files for this tool can hold; None: all.
    device
        Where torch prices whole arrays of mappings (``cpu``, ``cuda``, ...), ``auto`` for a GPU if
        there is one; None: compiled kernels do.

    Raises
    ------
    CelosiaError
        If an argument is not understood, or no mapping fits.
    """
    chosen, sizes = read_architecture(architecture), Layer.parse(layer)
    aim, bulk = Objective.parse(objective), bulk_on(device)
    load_kernels()
    tiles = chosen.factors if factors is None else read_choice("--factors", factors, Factors)
    if tool is not None and factors is None:
        tiles = tool.factors or tiles
    classes = None if tool is None else tool.classes(chosen, sizes)
    began = time.process_time()
    found = solve(
        chosen, sizes, aim, factors=tiles, budget=budget, workers=workers, classes=classes,
        bulk=bulk,
    )  # fmt: skip
    return Mapped(
        architecture=chosen,
        layer=sizes,
        objective=aim,
        mapping=found.mapping,
        price=found.price,
        solution=found,
        factors=tiles,
        cpu_seconds=time.process_time() - began,
    )


_ROOM = 1 << 26
"""Mappings that a GPU prices at once."""


def bulk_on(device: str | None) -> Bulk | None:
    """Return what prices mappings on a device of torch; None where compiled kernels do.

    Raises :class:`CelosiaError` if torch has no such device here.
    """
    if device is None:
        return None
    import torch

    if device == "auto":
        if not torch.cuda.is_available():
            return None
        device = "cuda"
    try:
        if torch.zeros(1, dtype=torch.float64, device=device).is_meta:
            raise RuntimeError("it keeps no values")
    except (RuntimeError, AssertionError, TypeError) as error:  # not built for it, or none there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CelosiaError(
            f"--device {device!r}: torch cannot work there ({reason}); take cpu, auto, or leave "
            "it out for compiled kernels"
        ) from error
    return Bulk(xp=torch) if device == "cpu" else Bulk(xp=torch, device=device, room=_ROOM)


def export_mapping(
    architecture: str | Path,
    layer: str,
    tool: str,
    folder: Path,
    objective: str = "energy",
    *,
    factors: str | None = None,
    mapping: Path | None = None,
) -> list[str]:
    """Write a layer, an architecture and a mapping as a tool's files; return their names.

    Parameters
    ----------
    architecture, layer, objective, factors
        As :func:`map_layer` takes them.
    tool
        A value of :class:`Tool`.
    folder
        Where the files go; it is made, or its files of an earlier run are replaced.
    mapping
        A JSON file of a mapping; None: the best one that the tool can read.

    Raises
    ------
    CelosiaError
        If an argument is not understood, no mapping fits, or the tool cannot say what it is.
    """
    target = read_choice("--to", tool, Tool)
    if mapping is None:
        found = map_layer(architecture, layer, objective, factors=factors, tool=target)
        chosen = found.mapping
    else:
        # Its stores stay where they are: what they hold there may be what the user wants.
        found = price_mapping(architecture, layer, objective, mapping)
        chosen = read_mapping(mapping)
    texts = export(found.architecture, found.layer, chosen, target)
    with atomic_directory(folder) as draft:
        for name, text in texts.items():
            (draft / name).write_text(text)
    return list(texts)


def load_kernels() -> None:
    """Compile the search's kernels, or load them: what is timed later is the search alone."""
    solve(read_architecture("a"), Layer.gemm(2, 2, 2), Objective.parse("energy"))


def price_mapping(
    architecture: str | Path, layer: str, objective: str, mapping: str | Path
) -> Mapped:
    """Return the price of the mapping of a JSON file.

    Stores are lifted above the loops that do not move their tiles first.

    Raises
    ------
    CelosiaError
        If an argument is not understood, or the mapping does not fit: which limit, by how much.
    """
    chosen, sizes = read_architecture(architecture), Layer.parse(layer)
    aim = Objective.parse(objective)
    began = time.process_time()
    given = read_mapping(mapping).trimmed(sizes).lifted()
    try:
        cost = price(chosen, sizes, given)
    except ValueError as error:
        raise CelosiaError(f"{mapping}: {error}") from error
    return Mapped(
        architecture=chosen,
        layer=sizes,
        objective=aim,
        mapping=given,
        price=cost,
        solution=None,
        factors=None,
        cpu_seconds=time.process_time() - began,
    )


def number(value: Fraction) -> int | float:
    """Return a fraction as JSON has numbers."""
    return int(value) if value.denominator == 1 else float(value)

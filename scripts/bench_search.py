"""How fast mappings are priced, and ResNet-18 solved: by layer, whole, on many accelerators."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from celosia.dataflow.hierarchy import kernels
from celosia.dataflow.hierarchy.architecture import Factors
from celosia.dataflow.hierarchy.architecture_file import read_architecture
from celosia.dataflow.hierarchy.batch import make_batch, price_batch, price_flat, random_bounds
from celosia.dataflow.hierarchy.exhaust import every_table, price_all
from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.resnet18 import RESNET18
from celosia.dataflow.hierarchy.skeleton import skeletons
from celosia.dataflow.hierarchy.tables import goal
from celosia.dataflow.search.objective import EDP, ENERGY, Objective
from celosia.scripts.bench_network import layer_pricing, many_accelerators, one_accelerator
from celosia.scripts.console import Report
from celosia.scripts.map_layer import load_kernels, map_layer

GEMM = Layer.gemm(5040, 5040, 5040)
"""The matrix product that rates are measured on: 54 million mappings."""

CONV = RESNET18["l1"].layer
"""The convolution that rates are measured on: 56 million mappings."""

_SEED = 20261121
_FLAT = 1 << 15
_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """A layer solved on architecture A; ``best_known`` is what its file of figures has."""

    layer: str
    objective: str
    energy_pj: float
    cycles: float
    cpu_seconds: float
    lower_bound: float
    proven: bool
    value: float
    gap: float
    relaxed_bound: float
    best_known: float


def flat_rate(layer: Layer) -> float:
    """Return mappings priced a CPU second, each from its own loop bounds, nothing shared.

    Counted are complete mappings, drawn at random from every class: energy, cycles, and whether
    they fit. Drawing them is not counted.
    """
    architecture = read_architecture("a")
    cases = [
        (
            make_batch(architecture, layer, skeleton),
            random_bounds(architecture, layer, skeleton, _FLAT, _SEED).astype(np.float64),
        )
        for skeleton in skeletons(architecture, layer)
    ]
    price_flat(*cases[0])  # compiles
    priced = 0
    began = time.process_time()
    while time.process_time() - began < _SECONDS:
        for batch, bounds in cases:
            price_flat(batch, bounds)
            priced += _FLAT
    return priced / (time.process_time() - began)


def batch_rate(layer: Layer, device: str) -> float:
    """Return mappings priced a second of the clock by torch on ``device``, nothing shared."""
    architecture = read_architecture("a")
    skeleton = skeletons(architecture, layer)[0]
    batch = make_batch(architecture, layer, skeleton)
    count = _FLAT if device == "cpu" else _FLAT << 6
    bounds = random_bounds(architecture, layer, skeleton, count, _SEED).astype(np.float64)
    there = torch.from_numpy(bounds).to(device)

    def price() -> None:
        # A sum is brought back, so all work is done.
        float(price_batch(torch, batch, there)[0].sum())

    price()
    rounds, began = 0, time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        price()
        rounds += 1
    return rounds * count / (time.perf_counter() - began)


def nested_rate(layer: Layer, objective: Objective) -> float:
    """Return mappings priced a CPU second where they share what they have in common.

    Every mapping of the space is counted once, and is priced: no bound and no capacity cuts any
    off. Making the tables of splits is not counted.
    """
    architecture = read_architecture("a")
    tables = every_table(architecture, layer, objective, Factors.PERFECT)
    aim = goal(architecture, objective)
    best = np.full(kernels.FOUND + 4, np.inf)
    began = time.process_time()
    priced = sum(price_all(table, aim, best) for table in tables)
    return priced / (time.process_time() - began)


def rates(report: Report) -> dict[str, Any]:
    """Return all rates, mappings a second of one core."""
    load_kernels()
    parts: dict[str, Callable[[], float]] = {
        "gemm_flat_per_s": lambda: flat_rate(GEMM),
        "gemm_nested_per_s": lambda: nested_rate(GEMM, ENERGY),
        "gemm_nested_edp_per_s": lambda: nested_rate(GEMM, EDP),
        "conv_flat_per_s": lambda: flat_rate(CONV),
        "conv_per_s": lambda: nested_rate(CONV, ENERGY),
        "conv_edp_per_s": lambda: nested_rate(CONV, EDP),
    }
    if torch.cuda.is_available():
        parts["gemm_gpu_per_s"] = lambda: batch_rate(GEMM, "cuda")
    found = {}
    for done, (name, measure) in enumerate(parts.items()):
        report(name, done, len(parts))
        found[name] = round(measure())
    return found


def layers(report: Report, names: Sequence[str] = tuple(RESNET18)) -> dict[str, Any]:
    """Return ResNet-18's layers solved for energy and for EDP on architecture A."""
    rows = []
    for done, name in enumerate(names):
        report(name, done, len(names))
        known = RESNET18[name]
        for objective in ("energy", "edp"):
            found = map_layer("a", str(known.layer), objective)
            figures = found.summary()
            best = known.energy if objective == "energy" else known.energy * known.cycles
            rows.append(
                LayerRow(
                    layer=name,
                    objective=objective,
                    best_known=best,
                    **{key: figures[key] for key in _FIGURES},
                )
            )
    return {"layers": [asdict(row) for row in rows]}


_FIGURES = (
    "energy_pj", "cycles", "cpu_seconds", "lower_bound", "proven", "value", "gap", "relaxed_bound",
)  # fmt: skip

PARTS: tuple[Callable[[Report], dict[str, Any]], ...] = (
    rates, layers, one_accelerator, layer_pricing,
)  # fmt: skip
"""What the benchmark consists of beside the sweep; each adds its own fields."""


def bench_search(report: Report, accelerators: int) -> dict[str, Any]:
    """Run every part, with a sweep over so many ``accelerators``; return all fields."""
    found: dict[str, Any] = {}
    for part in PARTS:
        found |= part(report)
    return found | many_accelerators(report, accelerators)

"""Whole networks on the dense engine in RTL: cycles, use of the array, and what bounds layers."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from celosia.dataflow.array_shape import ArrayShape
from celosia.dataflow.explore.reasons import reasons
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Program
from celosia.dataflow.search import map_network
from celosia.models.errors import CelosiaError
from celosia.models.find_scales import ScaleMethod
from celosia.models.network import Network
from celosia.models.networks.catalogue import NETWORKS, build
from celosia.models.networks.keyword import KEYWORDS, keyword
from celosia.models.random_network import random_inputs
from celosia.models.recipe import Recipe, Share
from celosia.scripts.console import Report, markdown_table, table
from celosia.scripts.predict import Prediction, predict_run
from celosia.scripts.simulate import Simulation, simulate
from celosia.scripts.sources import code_digest
from celosia.sim.cache import cached


def recipe(array: ArrayShape) -> Recipe:
    """Return how a network is quantised for ``array``, in seconds.

    As many rows of each layer have a format as columns have it; activations fill their bits.
    """
    return Recipe(
        weights=tuple(
            Share(format=group.format, ratio=group.count / array.column_count)
            for group in array.columns
        ),
        activation_bits=array.activation_bits,
        scale=ScaleMethod.MAX,
        activation_scale=ScaleMethod.MAX,
        error_feedback=False,
    )


LEAST = 0.4
"""Layers that use less of the array are told apart, with what bounds them."""

_SEED = 20261121


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A network by name, and the preset that it runs on, whose formats its weights have."""

    network: str
    accelerator: str

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.network} on {self.accelerator}"

    def build(self) -> Network:
        """Return the integer network; a keyword network is quantised already."""
        if self.network in KEYWORDS:
            return keyword(self.network)
        return build(self.network, recipe=recipe(preset(self.accelerator).array))


def _cases() -> Iterator[Case]:
    """Yield every network on 1,024 products a cycle, the large ones on more too.

    The U-Net's bilinear phases have weights of 5 bits, so it runs where weights have 8.
    """
    suited: dict[str, str] = dict.fromkeys(("resnet8", "resnet20"), "dense1k_x4")
    depthwise = ("mobilenet_v1", "mobilenet_v1_025", "mobilenet_v2", "efficientnet_lite0", "ds_cnn")
    suited |= dict.fromkeys(depthwise, "dense1k_dw")
    wide = ("unet", "efficientnet_lite0", KEYWORDS[0])
    for name in NETWORKS:
        if name != "unet":
            yield Case(network=name, accelerator=suited.get(name, "dense1k"))
    for name in wide:
        yield Case(network=name, accelerator="dense1k_w8")
    for name in ("resnet18", "resnet50"):
        yield Case(network=name, accelerator="dense4k")
    for name in ("resnet18", "resnet50", "mobilenet_v2"):
        yield Case(network=name, accelerator="zcu102_w4a4")


CASES = tuple(_cases())
"""In the order of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """A layer that uses less than :data:`LEAST` of the array.

    ``share`` is that of all cycles that it takes; ``bound`` the busiest unit and its numbers.
    ``stalls`` are the cycles in which the array waited for its next nest, by reason.
    """

    layer: str
    cycles: int
    share: float
    utilisation: float
    bound: str
    stalls: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """One sample of a network in RTL, from start to interrupt.

    ``utilisation`` is useful products over products a cycle times measured cycles; ``bit_exact``
    and ``cycles_exact`` are for every tensor, layer and counter: ``tensors_compared`` of
    ``tensors``, those too that never leave the chip. ``weights`` are "trained" or
    "random": then the cycles mean something and what is computed does not. ``map_seconds`` is
    what the search of the mapping took. ``tier_exact`` says whether ``simulate --tier model`` gives
    the tensors, cycles by layer and counters that the RTL gave, in ``tier_seconds`` once Python
    runs and the network is there.
    """

    network: str
    accelerator: str
    weight_bits: int
    products_per_cycle: int
    products: int
    cycles_predicted: int
    cycles_measured: int
    utilisation: float
    tensors: int
    tensors_compared: int
    bit_exact: bool
    cycles_exact: bool
    map_seconds: float
    sim_seconds: float
    build_seconds: float
    tier_exact: bool
    tier_seconds: float
    weights: str
    layers: tuple[LayerRow, ...]

    @property
    def holds(self) -> bool:
        """Whether everything was compared and as expected."""
        whole = self.tensors_compared == self.tensors
        return whole and self.bit_exact and self.cycles_exact and self.tier_exact

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


def find_cases(words: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases whose names hold one of ``words``, all for none.

    Raises :class:`CelosiaError` for a word that is in no name.
    """
    for word in words:
        if not any(word in case.name for case in CASES):
            known = "\n".join(case.name for case in CASES)
            raise CelosiaError(f"no network's name holds {word!r}: there are\n{known}")
    return tuple(c for c in CASES if not words or any(word in c.name for word in words))


def bench_networks(words: Sequence[str], report: Report) -> list[NetworkRow]:
    """Run the networks that ``words`` name, see :func:`find_cases`, whole in RTL.

    A row that was measured is kept, by the code that it depends on: a run that was interrupted
    goes on where it was.

    Raises
    ------
    CelosiaError
        As :func:`find_cases`, or if a tool is missing.
    """
    cases, rows = find_cases(words), []
    for number, case in enumerate(cases):

        def tell(what: str, done: int, total: int, number: int = number, case: Case = case) -> None:
            report(f"{case.name}: {what} {done}/{total}", number, len(cases))

        rows.append(_kept(case, tell))
    return rows


def _kept(case: Case, report: Report) -> NetworkRow:
    """Return the row of ``case``, from what was kept if it was measured before."""

    def build_row(folder: Path) -> None:
        row = measure(case, report)
        (folder / "row.json").write_text(json.dumps(row.as_dict()))

    made_from = repr((code_digest(__name__), case, preset(case.accelerator)))
    key = f"networks-{hashlib.sha256(made_from.encode()).hexdigest()[:40]}"
    value = json.loads((cached(key, build_row) / "row.json").read_text())
    return NetworkRow(**(value | {"layers": tuple(LayerRow(**row) for row in value["layers"])}))


def measure(case: Case, report: Report) -> NetworkRow:
    """Quantise the network of ``case``, search its mapping, and run one sample in RTL."""
    report("quantise", 0, 1)
    network, accelerator = case.build(), preset(case.accelerator)
    report("search a mapping", 0, 1)
    began = time.perf_counter()
    mapped = map_network(network, accelerator, DDR4)
    searched = time.perf_counter() - began
    inputs = random_inputs(network, 1, _SEED)
    done = simulate(network, accelerator, inputs, DDR4, report, mapping=mapped.mapping)
    verdict = done.verdict
    report("the same by the models alone", 0, 1)
    began = time.perf_counter()
    predicted = predict_run(network, accelerator, inputs, DDR4, mapping=mapped.mapping)
    by_model = time.perf_counter() - began
    return NetworkRow(
        network=case.network,
        accelerator=accelerator.name,
        weight_bits=max(group.format.bits for group in accelerator.array.columns),
        products_per_cycle=accelerator.products,
        products=done.program.products,
        cycles_predicted=done.predicted.cycles,
        cycles_measured=done.cycles_measured,
        utilisation=round(done.utilisation, 4),
        tensors=verdict.tensors + len(verdict.unseen),
        tensors_compared=verdict.tensors,
        bit_exact=verdict.bit_exact,
        cycles_exact=verdict.cycle_exact and verdict.counters_exact,
        map_seconds=round(searched, 2),
        sim_seconds=round(done.seconds["simulate"], 2),
        build_seconds=round(done.seconds["build"], 2),
        tier_exact=agrees(predicted, done),
        tier_seconds=round(by_model, 2),
        weights="trained" if network.trained else "random",
        layers=tuple(_slow_layers(done)),
    )


def agrees(predicted: Prediction, done: Simulation) -> bool:
    """Return whether the models alone say what the RTL did: every tensor, layer and counter."""
    timing, run = predicted.slowest, done.run
    counters = {counter: int(counts[done.slowest]) for counter, counts in run.counters.items()}
    return (
        [layer.cycles for layer in timing.layers] == run.layer_cycles[done.slowest].tolist()
        and timing.cycles == done.cycles_measured
        and {counter: timing.counters[counter] for counter in counters} == counters
        and not any(
            run.wrong(name, codes).any()
            for name, codes in predicted.tensors.items()
            if name not in run.unseen
        )
    )


def _slow_layers(done: Simulation) -> Iterator[LayerRow]:
    """Yield the layers that use less than :data:`LEAST` of the array, and why."""
    assert isinstance(done.program, Program)
    causes = reasons(done.program, done.predicted, done.memory)
    for cause, timed in zip(causes, done.predicted.layers, strict=True):
        if cause.utilisation < LEAST:
            yield LayerRow(
                layer=cause.name,
                cycles=cause.cycles,
                share=round(cause.cycles / done.predicted.cycles, 4),
                utilisation=round(cause.utilisation, 4),
                bound=f"{cause.text} ({cause.bound:,} of {cause.cycles:,} cycles)",
                stalls={stall.value: n for stall, n in timed.stalls.items() if n},
            )


def tables(rows: Sequence[NetworkRow]) -> tuple[Table, Table]:
    """Return what to show: the networks, and the layers that use little of the array."""
    return table(_HEADERS, map(_cells, rows)), table(_LAYER_HEADERS, _layer_cells(rows))


def markdown(rows: Sequence[NetworkRow]) -> str:
    """Return the tables of docs/benchmarks.md."""
    networks = markdown_table(_HEADERS, map(_cells, rows))
    return f"{networks}\n{markdown_table(_LAYER_HEADERS, _layer_cells(rows))}"


_HEADERS = (
    "network", "accelerator", "products a cycle", "predicted", "measured", "use", "exact, tensors",
    "simulated, s", "built, s", "model tier, s", "weights",
)  # fmt: skip
_LAYER_HEADERS = ("layer", "of", "cycles", "share", "use", "what bounds it", "array waits for")


def _cells(row: NetworkRow) -> tuple[str, ...]:
    return (
        row.network,
        row.accelerator,
        f"{row.products_per_cycle:,}",
        f"{row.cycles_predicted:,}",
        f"{row.cycles_measured:,}",
        f"{100 * row.utilisation:.1f} %",
        f"{'yes' if row.holds else 'NO'}, {row.tensors_compared} of {row.tensors}",
        f"{row.sim_seconds:.1f}",
        f"{row.build_seconds:.1f}",
        f"{row.tier_seconds:.1f}{'' if row.tier_exact else ', DIFFERS'}",
        row.weights,
    )


def _layer_cells(rows: Sequence[NetworkRow]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        for layer in row.layers:
            stalls = ", ".join(
                f"{name} {n:,}" for name, n in layer.stalls.items() if name != "none"
            )
            yield (
                layer.layer,
                f"{row.network}, {row.accelerator}",
                f"{layer.cycles:,}",
                f"{100 * layer.share:.1f} %",
                f"{100 * layer.utilisation:.1f} %",
                layer.bound,
                stalls or "-",
            )

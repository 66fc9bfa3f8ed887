"""EIE's nine layers on the engine, in RTL, beside the paper's times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.energy import access_energy, paper_energy
from celosia.dataflow.eie.presets import IMPROVED, PAPER
from celosia.dataflow.eie.program import EieCounter
from celosia.dataflow.eie.timing import eie_timing, run_timings
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.memory import DDR4
from celosia.models.eie_benchmark import LAYERS, BenchmarkLayer, benchmark_network
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.sim.check import check
from celosia.sim.run import Simulator

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

CLOCK_MHZ = 800
"""The paper's clock, in which its times are compared."""

DEPTHS = (1, 2, 4, 8, 16, 32, 64)
PES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class EieRow:
    """One layer on one engine.

    Cycles are those in which the layer's tiles are at work, its results' included, with its weights
    on chip: ``cycles_theoretical`` if each PE had an equal share of the entries (padding included)
    and nothing to wait for, of which ``balance`` is the share. ``us_at_800mhz`` are the measured
    cycles at the paper's clock. ``sim_seconds`` is wall clock of the simulation, loading included,
    building not.
    """

    layer: str
    pes: int
    queue_depth: int
    cycles_measured: int
    cycles_predicted: int
    cycles_theoretical: int
    balance: float
    us_at_800mhz: float
    paper_us: float
    improvements: str
    bit_exact: bool
    sim_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)

    @property
    def holds(self) -> bool:
        """Whether every bit is as expected, and the cycles are as predicted."""
        return self.bit_exact and self.cycles_measured == self.cycles_predicted


def find_layers(words: Sequence[str]) -> tuple[BenchmarkLayer, ...]:
    """Return the layers of those names, all for none; raises :class:`CelosiaError`."""
    known = {layer.name.lower(): layer for layer in LAYERS}
    for word in words:
        if word.lower() not in known:
            names = ", ".join(layer.name for layer in LAYERS)
            raise CelosiaError(f"there is no benchmark layer {word!r}: known are {names}")
    return tuple(known[word.lower()] for word in words) or LAYERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What is improved: an engine, and whether masks are balanced over its PEs.

    ``name`` is what rows say of improvements.
    """

    name: str
    accelerator: EieAccelerator
    balanced: bool


OFF = Variant(name="off", accelerator=PAPER, balanced=False)
ON = Variant(name="on", accelerator=IMPROVED, balanced=True)
ALONE = (
    OFF,
    Variant(
        name="channels",
        accelerator=replace(
            PAPER,
            name="eie_channels",
            array=replace(PAPER.array, channels=IMPROVED.array.channels),
        ),
        balanced=False,
    ),
    Variant(
        name="skip_empty",
        accelerator=replace(
            PAPER, name="eie_skip_empty", array=replace(PAPER.array, skip_empty=True)
        ),
        balanced=False,
    ),
    Variant(name="balanced", accelerator=PAPER, balanced=True),
    ON,
)
"""The paper's engine, each improvement alone, and all together."""


def measure_layer(layer: BenchmarkLayer, simulator: Simulator, variant: Variant) -> EieRow:
    """Run ``layer`` in RTL, on the engine of ``simulator``, and compare bits, cycles, accesses."""
    accelerator = variant.accelerator
    balanced = accelerator.array.pes if variant.balanced else None
    network, codes = benchmark_network(layer, balanced=balanced)
    program = compile_eie(network, accelerator)
    inputs = {"input": codes}
    golden = evaluate(network, inputs)
    predicted = eie_timing(program, DDR4, {name: golden[name][0] for name in golden})
    run = simulator.run(program, inputs, DDR4)
    verdict = check(program, run, golden, predicted)
    measured = int(run.counters[EieCounter.RUN_CYCLES][0])
    theoretical = -(-predicted.counters[EieCounter.ENTRIES] // accelerator.array.pes)
    return EieRow(
        layer=layer.name,
        pes=accelerator.array.pes,
        queue_depth=accelerator.array.queue,
        cycles_measured=measured,
        cycles_predicted=predicted.counters[EieCounter.RUN_CYCLES],
        cycles_theoretical=theoretical,
        balance=round(theoretical / measured, 4),
        us_at_800mhz=round(measured / CLOCK_MHZ, 3),
        paper_us=layer.paper_us,
        improvements=variant.name,
        bit_exact=verdict.passed,
        sim_seconds=round(run.seconds, 2),
    )


def bench_eie(
    words: Sequence[str], report: Report, variants: Sequence[Variant] = (OFF, ON)
) -> list[EieRow]:
    """Return every layer that ``words`` name, all for none, in each of ``variants``.

    By default on the paper's engine and the better. Raises :class:`CelosiaError` as
    :func:`find_layers` and the simulator do.
    """
    layers = find_layers(words)
    rows: list[EieRow] = []
    for variant in variants:
        accelerator = variant.accelerator
        simulator = Simulator(
            accelerator, progress=lambda what, done, total: report(f"build: {what}", done, total)
        )
        for layer in layers:
            report(f"{layer.name} on {accelerator.name}", len(rows), len(variants) * len(layers))
            rows.append(measure_layer(layer, simulator, variant))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A prediction for one layer: queue depth, PEs, cycles of the layer and balance.

    ``energy_uj`` is that of all accesses on chip by the 45 nm table, ``paper_energy_uj`` by the
    mean power of the paper's PEs.
    """

    layer: str
    pes: int
    queue_depth: int
    cycles: int
    balance: float
    energy_uj: float
    paper_energy_uj: float


def predict_layer(layer: BenchmarkLayer, accelerator: EieAccelerator) -> CurvePoint:
    """Return what the timing model, which the RTL equals, says of ``layer``."""
    network, codes = benchmark_network(layer)
    program = compile_eie(network, accelerator)
    runs = run_timings(program, {"input": codes[0]})
    cycles = sum(run.cycles for run in runs)
    entries = sum(run.entries for run in runs)
    counters = dict.fromkeys(EieCounter, 0) | {
        EieCounter.BROADCASTS: sum(run.broadcasts for run in runs),
        EieCounter.POINTER_READS: sum(run.pointer_reads for run in runs),
        EieCounter.ROW_READS: sum(run.row_reads for run in runs),
        EieCounter.ENTRIES: entries,
    }
    energy = access_energy(counters, accelerator, load_energy_table("cmos45"))
    return CurvePoint(
        layer=layer.name,
        pes=accelerator.array.pes,
        queue_depth=accelerator.array.queue,
        cycles=cycles,
        balance=round(entries / accelerator.array.pes / cycles, 4),
        energy_uj=round(energy.total / 1e6, 3),
        paper_energy_uj=round(paper_energy(cycles, accelerator.array.pes).total / 1e6, 3),
    )


def curves(words: Sequence[str], report: Report) -> list[CurvePoint]:
    """Return cycles and balance of layers over queue depth (1 to 64) and over PEs (1 to 256).

    Without engines of so few PEs that they do not hold a layer's vectors (VGG-6 on one).
    """
    points: list[CurvePoint] = []
    engines = [with_queue(depth) for depth in DEPTHS] + [with_pes(pes) for pes in PES]
    pairs = [(layer, e) for layer in find_layers(words) for e in engines if _holds(e, layer)]
    for layer, engine in pairs:
        report(f"{layer.name}: {engine.name}", len(points), len(pairs))
        points.append(predict_layer(layer, engine))
    return points


def _holds(engine: EieAccelerator, layer: BenchmarkLayer) -> bool:
    """Return whether the files of ``engine`` hold the vectors of ``layer``."""
    return max(layer.inputs, layer.outputs) <= engine.memories.activations * engine.array.pes


def with_queue(depth: int) -> EieAccelerator:
    """Return the paper's engine with queues of ``depth``."""
    return replace(PAPER, name=f"eie_queue_{depth}", array=replace(PAPER.array, queue=depth))


def with_pes(pes: int) -> EieAccelerator:
    """Return the paper's engine with ``pes`` PEs, and as much memory in all where that is more."""
    scale = max(1, 64 // pes)
    memories = PAPER.memories
    return replace(
        PAPER,
        name=f"eie_pes_{pes}",
        array=replace(PAPER.array, pes=pes),
        memories=replace(
            memories,
            entries=min(memories.entries * scale, 1 << 20),
            biases=min(memories.biases * scale, 1 << 13),
            activations=min(memories.activations * scale, 1 << 14),
            accumulators=min(memories.accumulators * scale, 1 << 13),
            pointer_bits=20,
        ),
    )


def summary(rows: Sequence[EieRow]) -> dict[str, int | float]:
    """Return how many layers meet the paper's time, and the least balance with improvements."""
    off = [row for row in rows if row.improvements == "off"]
    on = [row for row in rows if row.improvements == "on"]
    return {
        "at_most_the_papers_time": sum(row.us_at_800mhz <= row.paper_us for row in off),
        "at_most_the_papers_time_improved": sum(row.us_at_800mhz <= row.paper_us for row in on),
        "least_balance_improved": min((row.balance for row in on), default=float(np.nan)),
        "sim_seconds": round(sum(row.sim_seconds for row in rows), 1),
    }

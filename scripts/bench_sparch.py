"""SpArch on matrices of the paper's kinds: RTL, traffic, what each part of it saves.

Cycles and bytes are measured in RTL and predicted; OuterSPACE's bytes are those of its dataflow on
the same memory (:mod:`celosia.dataflow.sparch.traffic`).

.. code-block:: sh

    python -c "
    from celosia.dataflow.sparch.presets import TINY
    from celosia.scripts.bench_sparch import Limits, bench_sparch
    limits = Limits(products=2000)
    for row in bench_sparch(TINY, names=['mario'], modes=['sparch'], limits=limits):
        print(row.matrix, row.cycles_measured, row.exact)"
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from rich.table import Table

from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.accelerator_file import dump_sparch
from celosia.dataflow.sparch.choose import choose, fewest_bytes
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.plan import Plan, Strategy
from celosia.dataflow.sparch.presets import published
from celosia.dataflow.sparch.records import Cut
from celosia.dataflow.sparch.traffic import gustavson_traffic, outerspace_traffic, plan_traffic
from celosia.models.csr import Csr, from_scipy
from celosia.models.errors import CelosiaError
from celosia.scripts.console import table
from celosia.scripts.explore.workers import Workers
from celosia.scripts.sparch_matrices import Source, find_matrices
from celosia.scripts.sparch_results import Kept, SparchRow
from celosia.scripts.spgemm import multiplication
from celosia.sim.product import run_product
from celosia.sim.run import Simulator

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

HBM = MemoryModel(latency=60, bytes_per_cycle=64, outstanding=64)
"""The paper's 128 GB/s at 1 GHz: 64 bytes a cycle to read and as many to write."""

OWN = "sparch"
"""SpArch as a whole, on the engine as it is."""

PUBLISHED = "published"
"""SpArch as a whole, on the engine's multipliers organised as in the paper."""

PACKED = "packed"
"""SpArch where short rows share beats of the buffer, instead of lines of one row each."""

ADAPTIVE = "adaptive"
"""The strategy that takes the fewest cycles."""

FEWEST_BYTES = "fewest bytes"
"""The strategy that moves the fewest bytes."""

MODES: dict[str, tuple[Strategy, ...]] = {
    "no condensing": (Strategy(condense=False, huffman=False, reuse=False),),
    "+ condensing": (Strategy(huffman=False, reuse=False),),
    "+ Huffman": (Strategy(reuse=False),),
    OWN: (Strategy(),),
    PUBLISHED: (Strategy(),),
    PACKED: (Strategy(cut=Cut(packed=True, padded=True)),),
    "row-wise": (Strategy(rowwise=True),),
    FEWEST_BYTES: (),
    ADAPTIVE: (),
}
"""The modes by name: the parts of SpArch one by one, all of them, and what is beyond."""


def modes_of(accelerator: SparchAccelerator) -> tuple[str, ...]:
    """Return the modes that ``accelerator`` has."""
    lacks = {PACKED: not accelerator.packs, PUBLISHED: accelerator.products < 2}
    return tuple(mode for mode in MODES if not lacks.get(mode))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large what is measured may be.

    Attributes
    ----------
    products
        About the most products of a stand-in with itself; a larger matrix is cut.
    cycles
        The most predicted cycles of a product that is run in RTL.
    elements
        The most elements that a product moves to be merged for its cycles to be predicted. Beyond
        there are only bytes; the adaptive mode is always predicted.
    """

    products: int = 2_000_000
    cycles: int = 3_000_000
    elements: int = 400_000_000

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 0:
                raise ValueError(f"{name} must be at least 0, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A matrix to multiply by itself in a mode."""

    source: Source
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """How jobs are measured; a value that goes to workers."""

    accelerator: SparchAccelerator
    limits: Limits
    predict: bool

    @property
    def setting(self) -> str:
        """All that a row hangs on but its job."""
        return json.dumps([dump_sparch(self.accelerator), asdict(self.limits), self.predict])

    def engine(self, mode: str) -> SparchAccelerator:
        """Return what runs in ``mode``."""
        return published(self.accelerator) if mode == PUBLISHED else self.accelerator

    def __call__(self, job: Job) -> SparchRow:
        """Return what a job takes."""
        matrix = _matrix(job.source)
        name = f"{job.source.name}, {job.mode}"
        tried, accelerator = MODES[job.mode], self.engine(job.mode)
        if job.mode != ADAPTIVE:
            plan = fewest_bytes(matrix, matrix, accelerator, tried=tried)
            if plan.products + 2 * sum(plan.sizes) > self.limits.elements:
                return _row(job, matrix, plan, None)
            tried = (plan.strategy,)
        priced = choose(matrix, matrix, accelerator, HBM, tried=tried, name=name)
        plan, cycles = priced.program.plan, priced.timing.cycles
        if self.predict or cycles > self.limits.cycles:
            return _row(job, matrix, plan, cycles)
        run = run_product(_simulator(accelerator), priced.program, HBM)
        done = multiplication(priced, run)
        streams = (
            SparchCounter.LEFT_BEATS, SparchCounter.RIGHT_BEATS, SparchCounter.PARTIAL_READ_BEATS,
            SparchCounter.PARTIAL_WRITE_BEATS, SparchCounter.OUTPUT_BEATS,
            SparchCounter.POINTER_BEATS,
        )  # fmt: skip
        moved = sum(run.counters[each] for each in streams) * accelerator.bus.data_bytes
        return _row(
            job, matrix, plan, cycles,
            cycles_measured=run.cycles, dram_bytes_measured=moved, exact=done.holds,
            dram_bytes_predicted=done.traffic.total, sim_seconds=run.seconds,
        )  # fmt: skip


@functools.lru_cache(maxsize=1)
def _matrix(source: Source) -> Csr:
    """Return a matrix; all modes of one come one after another."""
    return source.matrix()


@functools.lru_cache(maxsize=2)
def _simulator(accelerator: SparchAccelerator) -> Simulator:
    return Simulator(accelerator)


def _row(job: Job, matrix: Csr, plan: Plan, cycles: int | None, **measured: Any) -> SparchRow:
    accelerator = plan.accelerator
    traffic = plan_traffic(plan)
    values: dict[str, Any] = {
        "cycles_measured": None, "dram_bytes_measured": None, "exact": None, "sim_seconds": None,
        "dram_bytes_predicted": traffic.total, **measured,
    }  # fmt: skip
    speed = busy = used = None
    if cycles is not None:
        rate = 2 * HBM.on_bus(accelerator.bus).bytes_per_cycle
        taken = values["cycles_measured"] or cycles
        moved = values["dram_bytes_measured"] or traffic.total
        speed = plan.products / taken
        busy, used = speed / accelerator.products, moved / (rate * taken)
    return SparchRow(
        matrix=job.source.name,
        mode=job.mode,
        share=job.source.share,
        rows=matrix.shape[0],
        nonzeros=matrix.nonzeros,
        longest=int(matrix.counts.max()),
        products=plan.products,
        size=plan.sizes[-1],
        rounds=len(plan.sizes),
        cycles_predicted=cycles,
        dram_bytes_outerspace=outerspace_traffic(plan).total,
        dram_bytes_gustavson=gustavson_traffic(plan).total,
        streams=asdict(traffic),
        gflops_at_1ghz=None if speed is None else 2 * speed,
        multiplier_utilisation=busy,
        bandwidth_utilisation=used,
        **values,
    )


def bench_sparch(
    accelerator: SparchAccelerator,
    *,
    folder: Path | None = None,
    names: Sequence[str] = (),
    modes: Sequence[str] = (),
    limits: Limits | None = None,
    predict: bool = False,
    workers: int = 1,
    results: Path | None = None,
    progress: Report | None = None,
) -> list[SparchRow]:
    """Measure products of matrices with themselves, in RTL.

    Parameters
    ----------
    accelerator
        The engine.
    folder, names
        Which matrices: :func:`~celosia.scripts.sparch_matrices.find_matrices`.
    modes
        Of :func:`modes_of` the engine; all by default.
    limits
        How large they may be.
    predict
        Whether nothing is run: only what the exact models say.
    workers
        Processes that share the work.
    results
        A file that each row is added to as soon as there is one. What it has already, of the same
        engine and limits, is not measured again.
    progress
        Told of each product.

    Raises
    ------
    CelosiaError
        A matrix or a mode is unknown, or does not fit the engine, or ``results`` is no such file.
    """
    known = modes_of(accelerator)
    for mode in modes:
        if mode not in known:
            raise CelosiaError(f"there is no mode {mode!r}: known are {', '.join(known)}")
    bench = Bench(accelerator=accelerator, limits=limits or Limits(), predict=predict)
    chosen = [mode for mode in known if not modes or mode in modes]
    jobs = [
        Job(source=source, mode=mode)
        for source in find_matrices(folder, names, bench.limits.products)
        for mode in chosen
    ]
    if workers > 1:  # kernels are compiled, and the simulator built, once and not in each worker
        one = from_scipy(scipy.sparse.eye_array(1, dtype=int, format="csr"))
        choose(one, one, accelerator, HBM, tried=MODES[OWN])
        for engine in {} if predict else {bench.engine(mode): None for mode in chosen}:
            Simulator(engine, progress=progress)
    kept = Kept(results, bench.setting)
    found = {job: row for job in jobs if (row := kept.row(job.source.name, job.mode))}
    missing = [job for job in jobs if job not in found]
    for job, row in _measured(bench, missing, workers):
        kept.add(row)
        found[job] = row
        if progress is not None:
            progress(f"{row.matrix}, {row.mode}", len(found), len(jobs))
    return [found[job] for job in jobs]


def _measured(bench: Bench, jobs: Sequence[Job], count: int) -> Iterator[tuple[Job, SparchRow]]:
    with Workers(bench, count, lambda job: f"{job.source.name}, {job.mode}") as workers:
        for index, row in workers.outcomes(jobs):
            yield jobs[index], row


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Geometric means over matrices.

    ``saved`` by mode: OuterSPACE's bytes over the mode's; ``gflops`` by mode, at 1 GHz, of those
    whose cycles are known. ``faster`` is by how much the adaptive mode is than SpArch as a whole,
    on the engine as it is and organised as in the paper: cycles over cycles.
    """

    saved: dict[str, float]
    gflops: dict[str, float]
    faster: dict[str, float]


def summary(rows: Sequence[SparchRow]) -> Summary:
    """Return the means of ``rows``."""
    saved, gflops, faster = {}, {}, {}
    cycles = {(row.matrix, row.mode): row.cycles_predicted for row in rows}
    for mode in MODES:
        mine = [row for row in rows if row.mode == mode]
        if mine:
            saved[mode] = _mean([row.saved for row in mine])
        if speeds := [row.gflops_at_1ghz for row in mine if row.gflops_at_1ghz]:
            gflops[mode] = _mean(speeds)
        gains = [
            row.cycles_predicted / best
            for row in mine
            if row.cycles_predicted and (best := cycles.get((row.matrix, ADAPTIVE)))
        ]
        if mode in (OWN, PUBLISHED) and gains:
            faster[mode] = _mean(gains)
    return Summary(saved=saved, gflops=gflops, faster=faster)


def _mean(ratios: Sequence[float]) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.mean(np.log(ratios))))


def tables(rows: Sequence[SparchRow]) -> list[Table | str]:
    """Return what a person wants to see: a table of each matrix, and the means.

    ``products`` is what part of the multipliers is at work, ``memory`` of its bandwidth used.
    """
    headers = (
        "mode", "cycles", "MB", "saved", "GFLOP/s", "products", "memory", "exact",
    )  # fmt: skip
    found: list[Table | str] = []
    for name in dict.fromkeys(row.matrix for row in rows):
        mine = [row for row in rows if row.matrix == name]
        found.append(table(headers, [_line(row) for row in mine], _title(mine[0])))
    means = summary(rows)
    columns = ("geometric mean over matrices", "OuterSPACE's bytes over its own", "GFLOP/s")
    lines = [(mode, saved, means.gflops.get(mode, "-")) for mode, saved in means.saved.items()]
    found.append(table(columns, lines))
    for mode, gain in means.faster.items():
        found.append(f"cycles, {mode} over adaptive, geometric mean: {gain:.3g}")
    return found


def _title(row: SparchRow) -> str:
    part = "" if row.share == 1 else f", {row.share:.1%} of the matrix"
    return f"{row.matrix}{part}: {row.nonzeros:,} nonzeros, {row.products:,} products"


def _line(row: SparchRow) -> tuple[object, ...]:
    """Return what a row says, measured where it was."""
    said = {None: "not run", True: "yes", False: "no"}[row.holds if row.exact is not None else None]
    cells = (
        row.mode,
        row.cycles_measured or row.cycles_predicted,
        (row.dram_bytes_measured or row.dram_bytes_predicted) / 1e6,
        f"{row.saved:.2f} x",
        row.gflops_at_1ghz,
        _percent(row.multiplier_utilisation),
        _percent(row.bandwidth_utilisation),
        said,
    )
    return tuple("-" if cell is None else cell for cell in cells)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"

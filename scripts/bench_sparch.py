"""SpArch on matrices of the paper's kinds: RTL, traffic, what each part of it saves.

Cycles and bytes are measured in RTL and predicted; OuterSPACE's bytes are those of its dataflow on
the same memory (:mod:`celosia.dataflow.sparch.traffic`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.choose import choose
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.plan import Strategy
from celosia.dataflow.sparch.traffic import outerspace_traffic
from celosia.models.csr import Csr
from celosia.models.errors import CelosiaError
from celosia.models.matrix_market import read_matrix_market
from celosia.models.random_sparse import Pattern, random_matrix
from celosia.scripts.spgemm import multiplication
from celosia.sim.product import run_product
from celosia.sim.run import Simulator

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

HBM = MemoryModel(latency=60, bytes_per_cycle=64, outstanding=64)
"""The paper's 128 GB/s at 1 GHz: 64 bytes a cycle to read and as many to write."""

MODES: dict[str, tuple[Strategy, ...]] = {
    "no condensing": (Strategy(condense=False, huffman=False, reuse=False),),
    "+ condensing": (Strategy(huffman=False, reuse=False),),
    "+ Huffman": (Strategy(reuse=False),),
    "sparch": (Strategy(),),
    "row-wise": (Strategy(rowwise=True),),
    "adaptive": (),
}
"""The modes by name: the parts of SpArch one by one, all of them, and what is beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Rows, elements and the longest row of one of the paper's matrices, and its kind.

    Densities are those of the published list where that has them. ``longest`` was not checked
    against the collection (SuiteSparse), nor sizes of what the list leaves out.
    """

    name: str
    rows: int
    nonzeros: int
    longest: int
    pattern: Pattern

    def matrix(self, most: int) -> Csr:
        """Return a random matrix with these, cut to ``most`` elements with rows as they are."""
        share = min(1.0, most / self.nonzeros)
        nonzeros = round(self.nonzeros * share)
        rows = max(round(self.rows * share), min(self.longest + 1, nonzeros))
        longest = min(self.longest, rows)
        return random_matrix(
            (rows, rows), nonzeros, np.random.default_rng(0), pattern=self.pattern, longest=longest
        )


def _list(kind: Pattern, *entries: tuple[str, int, int, int]) -> list[Statistics]:
    return [
        Statistics(name=name, rows=rows, nonzeros=nonzeros, longest=longest, pattern=kind)
        for name, rows, nonzeros, longest in entries
    ]


MATRICES = (
    *_list(
        Pattern.BANDED,
        ("2cubes_sphere", 101492, 1647264, 31),
        ("cage12", 130228, 2032536, 33),
        ("filter3D", 106437, 2707179, 112),
        ("mario002", 389874, 2101242, 7),
        ("offshore", 259789, 4242673, 31),
        ("roadNet-CA", 1971281, 5533214, 12),
        ("amazon0312", 400727, 3200440, 10),
    ),
    *_list(Pattern.UNIFORM, ("m133-b3", 200200, 800800, 4)),
    *_list(
        Pattern.POWER_LAW,
        ("cop20k_A", 121192, 2624331, 81),
        ("p2p-Gnutella31", 62586, 147892, 78),
        ("patents_main", 240547, 560943, 206),
        ("poisson3Da", 13514, 352762, 110),
        ("web-Google", 916428, 5105039, 456),
        ("webbase-1M", 1000005, 3105536, 4700),
        ("wiki-Vote", 8297, 103689, 893),
        ("cit-Patents", 3774768, 16518948, 770),
    ),
    *_list(
        Pattern.NETWORK,
        ("ca-CondMat", 23133, 186936, 280),
        ("email-Enron", 36692, 367662, 1383),
        ("scircuit", 170998, 958936, 353),
        ("facebook", 4039, 176468, 1045),
    ),
)
"""Statistics of the paper's twenty matrices, by kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparchRow:
    """One matrix times itself in one mode.

    Bytes are those of the product's own streams, program and stamps left out.
    ``bandwidth_utilisation`` is the share of what the memory could have moved, both ways, in the
    cycles; ``multiplier_utilisation`` that of products. ``exact`` says whether every bit, cycle
    and counter was as expected.
    """

    matrix: str
    mode: str
    rows: int
    nonzeros: int
    products: int
    cycles_measured: int
    cycles_predicted: int
    dram_bytes_measured: int
    dram_bytes_predicted: int
    dram_bytes_outerspace: int
    gflops_at_1ghz: float
    multiplier_utilisation: float
    bandwidth_utilisation: float
    exact: bool
    sim_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)

    @property
    def holds(self) -> bool:
        """Whether all is as predicted."""
        return self.exact and self.dram_bytes_measured == self.dram_bytes_predicted


def load_matrices(folder: Path | None, names: Sequence[str], most: int) -> dict[str, Csr]:
    """Return the matrices of the benchmark by name.

    All Matrix Market files of ``folder``, whole, and random matrices of the statistics of
    :data:`MATRICES`, of up to ``most`` elements; of both only those of ``names``, all for none.

    Raises :class:`CelosiaError` where a name is unknown or a file is no such file.
    """
    files = {} if folder is None else {
        path.name.removesuffix(".gz").removesuffix(".mtx"): path
        for path in sorted([*folder.glob("*.mtx"), *folder.glob("*.mtx.gz")])
    }  # fmt: skip
    known = [*files, *(f"{each.name} (generated)" for each in MATRICES)]
    chosen = [name for name in known if not names or any(word in name for word in names)]
    for word in names:
        if not any(word in name for name in known):
            raise CelosiaError(f"there is no matrix {word!r}: known are {', '.join(known)}")
    generated = {f"{each.name} (generated)": each for each in MATRICES}
    return {
        name: read_matrix_market(files[name]) if name in files else generated[name].matrix(most)
        for name in chosen
    }


def measure(name: str, matrix: Csr, mode: str, simulator: Simulator) -> SparchRow:
    """Multiply ``matrix`` by itself in ``mode``, in RTL."""
    accelerator = simulator.accelerator
    if not isinstance(accelerator, SparchAccelerator):
        raise CelosiaError(f"{accelerator.name} is no SpArch engine")
    priced = choose(matrix, matrix, accelerator, HBM, tried=MODES[mode], name=name)
    run = run_product(simulator, priced.program, HBM)
    done = multiplication(priced, run)
    plan, counters = priced.program.plan, run.counters
    streams = (
        SparchCounter.LEFT_BEATS, SparchCounter.RIGHT_BEATS, SparchCounter.PARTIAL_READ_BEATS,
        SparchCounter.PARTIAL_WRITE_BEATS, SparchCounter.OUTPUT_BEATS, SparchCounter.POINTER_BEATS,
    )  # fmt: skip
    moved = sum(counters[each] for each in streams) * accelerator.bus.data_bytes
    rate = 2 * HBM.on_bus(accelerator.bus).bytes_per_cycle
    return SparchRow(
        matrix=name,
        mode=mode,
        rows=matrix.shape[0],
        nonzeros=matrix.nonzeros,
        products=plan.products,
        cycles_measured=run.cycles,
        cycles_predicted=priced.timing.cycles,
        dram_bytes_measured=moved,
        dram_bytes_predicted=done.traffic.total,
        dram_bytes_outerspace=outerspace_traffic(plan).total,
        gflops_at_1ghz=2 * done.products_a_cycle,
        multiplier_utilisation=done.products_a_cycle / accelerator.right.multipliers,
        bandwidth_utilisation=moved / (rate * run.cycles),
        exact=done.holds,
        sim_seconds=run.seconds,
    )


def bench_sparch(
    accelerator: SparchAccelerator,
    *,
    folder: Path | None = None,
    names: Sequence[str] = (),
    modes: Sequence[str] = (),
    most: int = 20_000,
    progress: Report | None = None,
) -> list[SparchRow]:
    """Measure products of matrices with themselves, in RTL.

    Parameters
    ----------
    accelerator
        The engine.
    folder, names, most
        Which matrices: :func:`load_matrices`.
    modes
        Of :data:`MODES`; all by default.
    progress
        Told of each product.

    Raises
    ------
    CelosiaError
        A matrix or a mode is unknown, or does not fit the engine.
    """
    for mode in modes:
        if mode not in MODES:
            raise CelosiaError(f"there is no mode {mode!r}: known are {', '.join(MODES)}")
    chosen = tuple(modes) or tuple(MODES)
    matrices = load_matrices(folder, names, most)
    simulator = Simulator(accelerator, progress=progress)
    rows: list[SparchRow] = []
    total = len(matrices) * len(chosen)
    for name, matrix in matrices.items():
        for mode in chosen:
            if progress is not None:
                progress(f"{name}, {mode}", len(rows), total)
            rows.append(measure(name, matrix, mode, simulator))
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Geometric means over matrices.

    ``saved`` by mode: OuterSPACE's bytes over the mode's. ``adaptive`` is the cycles of SpArch's
    own mode over the adaptive one's. None where no row has the mode.
    """

    saved: dict[str, float]
    adaptive: float | None


def summary(rows: Sequence[SparchRow]) -> Summary:
    """Return the means of ``rows``."""
    saved = {}
    for mode in MODES:
        ratios = [
            row.dram_bytes_outerspace / row.dram_bytes_measured for row in rows if row.mode == mode
        ]
        if ratios:
            saved[mode] = float(np.exp(np.mean(np.log(ratios))))
    cycles = {(row.matrix, row.mode): row.cycles_measured for row in rows}
    gains = [
        count / cycles[matrix, "adaptive"]
        for (matrix, mode), count in cycles.items()
        if mode == "sparch" and (matrix, "adaptive") in cycles
    ]
    return Summary(saved=saved, adaptive=float(np.exp(np.mean(np.log(gains)))) if gains else None)

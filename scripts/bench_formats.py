"""Every number format on the same networks, the same engine and the same synthesis flow."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import celosia.dataflow
import celosia.models
from celosia.dataflow.accelerator import Accelerator, ArrayShape, Buffers, Bus, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import DDR4
from celosia.dataflow.timing import timing
from celosia.models.archive import export_model
from celosia.models.assign import row_counts
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.network import MAX_ACCUMULATOR_BITS, Conv, Network
from celosia.models.qat import Schedule, finetune
from celosia.models.quantize import quantise_inputs, quantize
from celosia.models.recipe import Recipe
from celosia.models.zoo import Workload, digits, mnist, rnet
from celosia.scripts.bench_pe import measure
from celosia.scripts.format_schemes import SCHEMES, Scheme
from celosia.sim.cache import cached

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

SEEDS = (0, 1, 2)
"""Of the float network's training, where it is trained here, and of fine-tuning."""

COLUMNS, LANES = 16, 16
"""Of the array that cycles are counted on, the same for all: 256 products a cycle."""

WORKLOADS: dict[str, Callable[[int], Workload]] = {
    "rnet": lambda seed: rnet(),
    "digits": lambda seed: digits(seed=seed),
    "mnist": lambda seed: mnist(seed=seed),
}
"""What each seed's network is."""

EPOCHS = {"rnet": 8, "digits": 4, "mnist": 2}
"""Passes of fine-tuning over the training data."""

ROW = "row.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Of several seeds: the mean, and the largest minus the smallest."""

    mean: float
    spread: float

    @staticmethod
    def of(values: Sequence[float]) -> Accuracy:
        """Return mean and spread of one or more accuracies, 0 to 1."""
        return Accuracy(mean=float(np.mean(values)), spread=max(values) - min(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What a scheme does to a workload: accuracies, bits a weight, cycles of one sample."""

    accuracy_float: Accuracy
    accuracy_ptq: Accuracy
    accuracy_qat: Accuracy
    bits_per_weight: float
    cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """What a product takes, on average over the formats of a scheme; None where not measured.

    ``lut_only`` are the look-up tables without DSP blocks; ``lut`` and ``dsp`` what it takes
    where they are allowed.
    """

    lut_only: float | None
    lut: float | None
    dsp: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatRow:
    """One row of the table."""

    scheme: str
    workload: str
    learnt: Learnt
    area: Area

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values, flat."""
        learnt = asdict(self.learnt)
        flat: dict[str, Any] = {"format": self.scheme, "workload": self.workload}
        for kind in ("float", "ptq", "qat"):
            accuracy = learnt.pop(f"accuracy_{kind}")
            flat[f"{kind}_mean"], flat[f"{kind}_spread"] = accuracy["mean"], accuracy["spread"]
        area = {f"{name}_per_product": value for name, value in asdict(self.area).items()}
        return {**flat, "seeds": len(SEEDS), **learnt, **area}


def bench_formats(
    workloads: Sequence[str], words: Sequence[str], report: Report
) -> list[FormatRow]:
    """Quantise, fine-tune and compile every scheme on ``workloads``; return a row for each pair.

    Rows are kept as they are done, by the sources of :mod:`celosia.models` and
    :mod:`celosia.dataflow`: a run that was interrupted goes on where it was.

    Parameters
    ----------
    workloads
        Names in :data:`WORKLOADS`, at least one.
    words
        Only schemes whose name holds all of these.
    report
        Told how far it is.

    Raises
    ------
    CelosiaError
        If a name is unknown, or data or a tool is missing.
    """
    unknown = [name for name in workloads if name not in WORKLOADS]
    if unknown or not workloads:
        raise CelosiaError(
            f"unknown workload {', '.join(unknown)!r}: known are {', '.join(WORKLOADS)}"
        )
    chosen = [scheme for scheme in SCHEMES if all(word in scheme.name for word in words)]
    if not chosen:
        raise CelosiaError(
            f"no format's name holds {' and '.join(map(repr, words))}: there are "
            + "; ".join(scheme.name for scheme in SCHEMES)
        )
    rows: list[FormatRow] = []
    source = _source()
    for name in workloads:
        bench = _Bench(name, source)
        for scheme in chosen:
            report(f"{name}, {scheme.name}", len(rows), len(workloads) * len(chosen))
            learnt = bench.row(scheme)
            rows.append(
                FormatRow(scheme=scheme.name, workload=name, learnt=learnt, area=area(scheme))
            )
    return rows


def area(scheme: Scheme) -> Area:
    """Return what a product takes, by the table of processing elements."""

    def mean(field: str, *, dsp_allowed: bool) -> float | None:
        total = 0.0
        for share, case in zip(
            scheme.recipe.weights, scheme.cases(dsp_allowed=dsp_allowed), strict=True
        ):
            if case is None:
                return None
            total += share.ratio * float(getattr(measure(case), field))
        return total

    return Area(
        lut_only=mean("lut_raw_per_lane", dsp_allowed=False),
        lut=mean("lut_raw_per_lane", dsp_allowed=True),
        dsp=mean("dsp_per_lane", dsp_allowed=True),
    )


def accelerator(recipe: Recipe) -> Accelerator:
    """Return the engine that cycles are counted on: columns in the recipe's proportions."""
    counts = [max(count, 1) for count in row_counts(recipe.weights, COLUMNS)]
    counts[int(np.argmax(counts))] -= sum(counts) - COLUMNS
    groups = tuple(
        ColumnGroup(format=share.format, count=count)
        for share, count in zip(recipe.weights, counts, strict=True)
    )
    return Accelerator(
        name="formats",
        array=ArrayShape(
            columns=groups,
            lanes=LANES,
            pixels=1,
            accumulator_bits=32 if recipe.blocks is None else MAX_ACCUMULATOR_BITS,
            scaling=recipe.blocks,
        ),
        buffers=Buffers(
            activations=4096,
            weights=1024,
            accumulators=1024,
            constants=128,
            residuals=4096,
            outputs=4096,
        ),
        bus=Bus(data_bits=128, burst_beats=64, outstanding=8),
        post_lanes=8,
    )


def bits_per_weight(network: Network) -> float:
    """Return the bits of the network's own weights and their scales, for each weight."""
    bits = weights = 0
    for op in network.ops:
        if isinstance(op, Conv) and op.useful:
            weights += op.weights.size
            bits += sum(fmt.bits for fmt in op.formats) * op.weights[0].size
            if op.scales is not None:
                bits += op.scales.scaling.scale.bits * op.scales.values.size
    return bits / weights


class _Bench:
    """The schemes on one workload; its networks are trained when the first row needs them."""

    def __init__(self, name: str, source: str) -> None:
        self._name, self._source = name, source
        self._trained: list[Workload] = []

    def row(self, scheme: Scheme) -> Learnt:
        """Return what was kept of a row, or make it."""
        epochs = EPOCHS[self._name]
        parts = (self._source, repr(scheme), self._name, repr(SEEDS), str(epochs))
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]

        def build(folder: Path) -> None:
            (folder / ROW).write_text(json.dumps(asdict(self._measure(scheme))))

        kept = json.loads((cached(f"formats-{digest}", build) / ROW).read_text())
        accuracies = ("accuracy_float", "accuracy_ptq", "accuracy_qat")
        return Learnt(**kept | {name: Accuracy(**kept[name]) for name in accuracies})

    def _measure(self, scheme: Scheme) -> Learnt:
        found: dict[str, list[float]] = {"float": [], "ptq": [], "qat": []}
        if not self._trained:
            self._trained = [WORKLOADS[self._name](seed) for seed in SEEDS]
        network = None
        for seed, work in zip(SEEDS, self._trained, strict=True):
            graph = import_program(export_model(work.model, (work.example,)), work.name)
            plain = quantize(graph, work.calibration, scheme.recipe)
            schedule = Schedule(
                epochs=EPOCHS[self._name],
                batch=32 if len(work.training) < 1000 else 64,
                seed=seed,
                weight_gradient=scheme.weight_gradient,
                refresh=1,
            )
            tuned = finetune(
                graph, work.training, scheme.recipe, schedule, work.training_labels, work.head
            )
            found["float"].append(work.accuracy(work.run_float()))
            found["ptq"].append(_accuracy(work, plain))
            found["qat"].append(_accuracy(work, tuned))
            network = network or tuned
        assert network is not None
        program = compile_network(network, accelerator(scheme.recipe))
        return Learnt(
            accuracy_float=Accuracy.of(found["float"]),
            accuracy_ptq=Accuracy.of(found["ptq"]),
            accuracy_qat=Accuracy.of(found["qat"]),
            bits_per_weight=bits_per_weight(network),
            cycles=timing(program, DDR4).cycles,
        )


def _accuracy(work: Workload, network: Network) -> float:
    codes = evaluate(network, quantise_inputs(network, work.inputs))
    return work.accuracy([codes[name] for name in network.outputs])


def _source() -> str:
    """Return a hash of all that decides about a row but its scheme."""
    digest = hashlib.sha256(torch.__version__.encode())
    for package in (celosia.models, celosia.dataflow):
        for folder in package.__path__:
            for path in sorted(Path(os.fspath(folder)).rglob("*.py")):
                digest.update(path.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()

"""Trained networks, pruned, shared and retrained, whole on EIE's engine in RTL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from rich.table import Table

from celosia.dataflow.eie.accelerator import EieAccelerator, Widths
from celosia.dataflow.eie.presets import TINY, ZCU102
from celosia.dataflow.memory import DDR4
from celosia.models.compression.compress import compress
from celosia.models.compression.lower import vectors
from celosia.models.compression.permute import permute_rows
from celosia.models.compression.recipe import Balance, Compression, Retraining
from celosia.models.compression.statistics import sizes
from celosia.models.errors import CelosiaError
from celosia.models.graph import FloatGraph
from celosia.models.importer import export_model, import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.mlp_zoo import MLPS
from celosia.models.network import Network
from celosia.models.zoo import Workload
from celosia.scripts.console import table
from celosia.scripts.simulate import simulate

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

PLAIN = replace(
    TINY,
    name="eie_tiny_plain",
    widths=Widths(weight=8, codebook=False, activation=16, accumulator=32),
    bus=replace(TINY.bus, data_bits=128),
)
"""Four PEs with 8-bit weights and no codebook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A workload by name, how it is compressed, and on which engine it runs.

    With ``permuted`` rows change places until the engine's PEs have equal work.
    """

    name: str
    workload: str
    recipe: Compression
    engine: EieAccelerator
    retraining: Retraining = field(default_factory=Retraining)
    permuted: bool = False


def _balance(engine: EieAccelerator) -> Balance:
    return Balance(pes=engine.array.pes, permute=True)


CASES = (
    Case(
        name="digits_mlp",
        workload="digits_mlp",
        recipe=Compression(balance=_balance(TINY)),
        engine=TINY,
        retraining=Retraining(epochs=20),
    ),
    Case(
        name="digits_mlp_plain",
        workload="digits_mlp",
        recipe=Compression(balance=_balance(PLAIN), clusters=None),
        engine=PLAIN,
        retraining=Retraining(epochs=20),
    ),
    Case(
        name="rnet_head",
        workload="rnet_head",
        recipe=Compression(balance=_balance(ZCU102)),
        engine=ZCU102,
    ),
    # The densities of "Deep Compression" (ICLR 2016), table 2, masks where its magnitudes are.
    Case(
        name="lenet300",
        workload="lenet300",
        recipe=Compression(densities={"1": 0.08, "3": 0.09, "5": 0.26}),
        engine=ZCU102,
        permuted=True,
    ),
)
"""In the order of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """One network on one engine, all its test samples in RTL.

    ``agreement`` is the share of samples that are classified as the float network does;
    ``accuracy`` is that of the RTL's outputs. ``cycles_measured`` are those of the slowest sample,
    its weights loaded included, ``run_cycles`` of these the ones in which layers are at work;
    ``holds`` is for every sample, its bits, cycles and counters. The other fields are
    :class:`Size`'s of the whole network.
    """

    network: str
    accelerator: str
    pes: int
    weights: int
    nonzeros: int
    density: float
    bits_per_weight: float
    padding_share: float
    balance: float
    ratio: float
    samples: int
    accuracy_float: float
    accuracy: float
    agreement: float
    cycles_predicted: int
    cycles_measured: int
    run_cycles: int
    holds: bool
    sim_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


def find_cases(words: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases of those names, all for none; raises :class:`CelosiaError`."""
    known = {case.name: case for case in CASES}
    for word in words:
        if word not in known:
            raise CelosiaError(f"there is no network {word!r}: known are {', '.join(known)}")
    return tuple(known[word] for word in words) or CASES


def bench_networks(words: Sequence[str], report: Report) -> list[NetworkRow]:
    """Return a row for each network that ``words`` name, all for none.

    Raises :class:`CelosiaError` as :func:`find_cases`, the workloads and the simulator do.
    """
    cases = find_cases(words)
    rows: list[NetworkRow] = []
    for number, case in enumerate(cases):
        report(f"train and compress {case.name}", number, len(cases))
        work = MLPS[case.workload]()
        rows.append(measure_network(case, work, report))
    return rows


def compressed(case: Case, graph: FloatGraph, work: Workload) -> Network:
    """Return the network of ``case``, trained on the workload's training part."""
    network = compress(
        graph,
        work.training,
        case.recipe,
        case.retraining,
        labels=work.training_labels,
        head=work.head,
    )
    return permute_rows(network, case.engine.array.pes)[0] if case.permuted else network


def measure_network(case: Case, work: Workload, report: Report) -> NetworkRow:
    """Compress ``work`` and run every test sample in RTL."""
    graph = import_program(export_model(work.model, (work.example,)), work.name)
    network = compressed(case, graph, work)
    inputs = quantise_inputs(network, vectors({network.inputs[0]: work.inputs}))
    done = simulate(network, case.engine, inputs, DDR4, report)
    engine = case.engine
    whole = sizes(network, pes=engine.array.pes, before=graph, index_bits=engine.widths.index)[-1]
    wanted = work.run_float()
    outputs: Mapping[str, np.ndarray] = {name: done.run.tensors[name] for name in network.outputs}
    return NetworkRow(
        network=case.name,
        accelerator=engine.name,
        pes=engine.array.pes,
        weights=whole.weights,
        nonzeros=whole.nonzeros,
        density=round(whole.density, 4),
        bits_per_weight=round(whole.bits_per_weight, 2),
        padding_share=round(whole.padding_share, 4),
        balance=round(whole.balance, 4),
        ratio=round(whole.ratio, 2),
        samples=done.run.samples,
        accuracy_float=round(work.accuracy(wanted), 4),
        accuracy=round(work.accuracy(outputs), 4),
        agreement=round(float((work.predict(outputs) == work.predict(wanted)).mean()), 4),
        cycles_predicted=done.predicted.cycles,
        cycles_measured=done.cycles_measured,
        run_cycles=done.counters()["run_cycles"]["measured"],
        holds=done.holds,
        sim_seconds=round(done.run.seconds, 2),
    )


def tables(rows: Sequence[NetworkRow]) -> list[Table]:
    """Return what to show: what networks take, and what was measured."""
    taken = [
        (
            row.network,
            row.accelerator,
            f"{row.weights:,}",
            f"{100 * row.density:.1f} %",
            row.bits_per_weight,
            f"{100 * row.padding_share:.1f} %",
            row.balance,
            row.ratio,
        )
        for row in rows
    ]
    measured = [
        (
            row.network,
            row.samples,
            *(f"{share:.4f}" for share in (row.accuracy_float, row.accuracy, row.agreement)),
            *(f"{n:,}" for n in (row.cycles_predicted, row.cycles_measured, row.run_cycles)),
            "yes" if row.holds else "NO",
        )
        for row in rows
    ]
    headers = (
        "network",
        "samples",
        "float",
        "RTL",
        "agree",
        "predicted",
        "cycles",
        "runs",
        "exact",
    )
    return [
        table(
            ("network", "engine", "weights", "kept", "bits", "padding", "balance", "ratio"), taken
        ),
        table(headers, measured),
    ]

"""Every number format on the same networks, the same engine and the same synthesis flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from celosia.models.errors import CelosiaError
from celosia.models.network import Conv, Network
from celosia.scripts.bench_pe import measure
from celosia.scripts.format_cycles import column_shares, cycles, engine
from celosia.scripts.format_schemes import SCHEMES, Scheme
from celosia.scripts.format_training import SUBJECTS, learn

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

SEEDS = (0, 1, 2)
"""Of the float network's training, where it is trained here, and of fine-tuning."""


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
    """What a scheme does to a workload: accuracies, bits a weight, cycles of one sample.

    ``products_per_cycle`` are those of the engine that the cycles are counted on.
    """

    accuracy_float: Accuracy
    accuracy_ptq: Accuracy
    accuracy_qat: Accuracy
    bits_per_weight: float
    cycles: int
    products_per_cycle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """What a product a cycle takes, on average over a network's; None where not measured.

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

    What is done is kept, by the code that it depends on: a run that was interrupted goes on
    where it was.

    Parameters
    ----------
    workloads
        Different names in :data:`~celosia.scripts.format_training.SUBJECTS`, at least one.
    words
        Only schemes whose name holds all of these, in capital or small letters.
    report
        Told how far it is.

    Raises
    ------
    CelosiaError
        If a name is unknown, or data or a tool is missing.
    """
    wrong = [name for name in workloads if name not in SUBJECTS]
    if wrong or not workloads or len(set(workloads)) < len(workloads):
        raise CelosiaError(
            f"networks {','.join(workloads)!r} are not understood: name each once, separated by "
            f"commas, of {', '.join(SUBJECTS)}"
        )
    chosen = [
        scheme for scheme in SCHEMES if all(word.lower() in scheme.name.lower() for word in words)
    ]
    if not chosen:
        raise CelosiaError(
            f"no format's name holds {' and '.join(map(repr, words))}: there are\n"
            + "\n".join(scheme.name for scheme in SCHEMES)
        )
    rows: list[FormatRow] = []
    total = len(workloads) * len(chosen) * len(SEEDS)
    for name in workloads:
        for scheme in chosen:

            def tell(seed: int, name: str = name, scheme: Scheme = scheme) -> None:
                done = len(rows) * len(SEEDS) + seed
                report(f"{name}, {scheme.name}, seed {SEEDS[seed]}", done, total)

            rows.append(_row(scheme, name, tell))
    return rows


def _row(scheme: Scheme, name: str, tell: Callable[[int], None]) -> FormatRow:
    outcomes = []
    for index, seed in enumerate(SEEDS):
        tell(index)
        outcomes.append(learn(scheme.task, name, seed))
    network = outcomes[0].network
    target = engine(scheme.recipe, network, scheme.circuit)
    learnt = Learnt(
        accuracy_float=Accuracy.of([outcome.real for outcome in outcomes]),
        accuracy_ptq=Accuracy.of([outcome.quantised for outcome in outcomes]),
        accuracy_qat=Accuracy.of([outcome.tuned for outcome in outcomes]),
        bits_per_weight=bits_per_weight(network),
        cycles=cycles(network, target),
        products_per_cycle=target.array.products,
    )
    return FormatRow(scheme=scheme.name, workload=name, learnt=learnt, area=area(scheme, network))


def area(scheme: Scheme, network: Network) -> Area:
    """Return what the columns of ``scheme`` take for each product of ``network`` a cycle.

    Of elements in several sign styles that with the fewest look-up tables counts.
    """
    plain, allowed = (_amounts(scheme, network, dsp_allowed=allowed) for allowed in (False, True))
    return Area(lut_only=plain[0], lut=allowed[0], dsp=allowed[1])


def _amounts(
    scheme: Scheme, network: Network, *, dsp_allowed: bool
) -> tuple[float, float] | tuple[None, None]:
    """Return look-up tables and DSP blocks, None where an element is not in the table."""
    lut = dsp = 0.0
    for column, share in column_shares(network).items():
        rows = [measure(case) for case in scheme.cases(column, dsp_allowed=dsp_allowed)]
        if not rows:
            return None, None
        best = min(rows, key=lambda row: row.lut_raw_per_lane)
        each = share * scheme.product_cycles(column)
        lut, dsp = lut + each * best.lut_raw_per_lane, dsp + each * best.dsp_per_lane
    return lut, dsp


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

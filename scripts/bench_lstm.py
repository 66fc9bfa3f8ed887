"""Silero's LSTM with its real weights on the EIE engine, in RTL, beside the float model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from celosia.dataflow.eie.accelerator import EieAccelerator, Widths
from celosia.dataflow.eie.presets import LSTM
from celosia.dataflow.eie.program import EieCounter
from celosia.dataflow.memory import DDR4
from celosia.models.compression.lstm import compress_lstm, lstm_codes, run_float
from celosia.models.compression.recipe import Compression, Start
from celosia.models.errors import CelosiaError
from celosia.models.silero import FRAME, RATE, Silero, silero, spoken
from celosia.scripts.simulate import simulate

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

PLAIN = replace(LSTM, name="eie_lstm8", widths=Widths(weight=8, codebook=False))
"""The same engine for plain weights of 8 bits."""

SEEDS = 16, 3
"""Of two sounds like speech: scales and masks are found on the first, judged is on the second."""


def _recipe(density: float, clusters: int | None) -> Compression:
    return Compression(
        density=density, clusters=clusters, start=Start.DENSITY,
        activation_bits=16, accumulator_bits=40,
    )  # fmt: skip


CASES = {
    "8 bits, all": (PLAIN, _recipe(1.0, None)),
    "8 bits, 50 %": (PLAIN, _recipe(0.5, None)),
    "8 bits, 30 %": (PLAIN, _recipe(0.3, None)),
    "16 values, all": (LSTM, _recipe(1.0, 16)),
    "16 values, 50 %": (LSTM, _recipe(0.5, 16)),
    "16 values, 30 %": (LSTM, _recipe(0.3, 16)),
}
"""What is measured: how weights are stored, and which share of them stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmRow:
    """One way to store the weights, over all steps in one start.

    ``cycles_*`` are those of the whole start, the loading of weights included, of which
    ``run_cycles_per_step`` multiply; ``read_beats`` are all that is read from memory. ``exact`` is
    whether every bit, cycle and access is as expected. ``h_error`` is the greatest difference of
    any output to the float model's, ``h_cosine`` the cosine of all outputs with its own;
    ``probability_error`` the greatest difference of what is made of them.
    """

    weights: str
    accelerator: str
    density: float
    steps: int
    cycles_measured: int
    cycles_predicted: int
    run_cycles_per_step: float
    read_beats: int
    exact: bool
    h_error: float
    h_cosine: float
    probability_error: float
    sim_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


def bench_lstm(steps: int, report: Report, words: Sequence[str] = ()) -> list[LstmRow]:
    """Return a row for each of :data:`CASES` whose name holds all ``words``, all for none.

    Raises :class:`CelosiaError` where there is none, and as :func:`silero` and the simulator do.
    """
    chosen = {name: case for name, case in CASES.items() if all(word in name for word in words)}
    if not chosen:
        raise CelosiaError(
            f"no row's name holds {' and '.join(map(repr, words))}: rows are {', '.join(CASES)}"
        )
    detector = silero()
    sounds = [detector.encode(spoken(steps * FRAME / RATE, seed)) for seed in SEEDS]
    rows = []
    for number, (name, (engine, recipe)) in enumerate(chosen.items()):
        report(name, number, len(chosen))
        rows.append(measure(detector, name, engine, recipe, sounds))
    return rows


def measure(
    detector: Silero,
    name: str,
    engine: EieAccelerator,
    recipe: Compression,
    sounds: Sequence[np.ndarray],
) -> LstmRow:
    """Run the second of ``sounds`` in RTL; scales and masks are found on the first."""
    network = compress_lstm(detector.lstm, sounds[0], recipe, name="silero")
    found = simulate(network, engine, lstm_codes(network, sounds[1]), DDR4)
    real = run_float(detector.lstm, sounds[1])[-1]
    tensor = network.tensor(network.outputs[0])
    ours = found.run.tensors[tensor.name][0, :, :, 0].T * tensor.scale
    layer = detector.lstm[0]
    error = np.abs(detector.decode(ours) - detector.decode(real)).max()
    cosine = (ours * real).sum() / np.sqrt((ours**2).sum() * (real**2).sum())
    return LstmRow(
        weights=name,
        accelerator=engine.name,
        density=round(network.macs / len(real) / (layer.inputs.size + layer.hidden.size), 4),
        steps=len(real),
        cycles_measured=found.cycles_measured,
        cycles_predicted=found.predicted.cycles,
        run_cycles_per_step=round(int(found.run.counters[EieCounter.RUN_CYCLES][0]) / len(real), 1),
        read_beats=int(found.run.counters[EieCounter.READ_BEATS][0]),
        exact=found.holds,
        h_error=round(float(np.abs(ours - real).max()), 4),
        h_cosine=round(float(cosine), 5),
        probability_error=round(float(error), 4),
        sim_seconds=round(found.run.seconds, 2),
    )

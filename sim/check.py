"""The cross-check of a run: every tensor, every layer's cycles, every counter.

The first divergence of each kind is named; :mod:`celosia.sim.locate` finds its cycle.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.program import BaseProgram
from celosia.dataflow.timing import Timing
from celosia.models.errors import CelosiaError
from celosia.sim.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueDivergence:
    """The first code that differs: first layer, then first sample, then first index.

    ``layer`` is None for an input, and for a concat without copies. ``index`` is (channel, y, x).
    ``got`` is None for a code of a tensor on the chip that was never made.
    """

    layer: str | None
    tensor: str
    sample: int
    index: tuple[int, int, int]
    expected: int
    got: int | None

    def __str__(self) -> str:
        where = f"layer {self.layer!r}: " if self.layer else ""
        return (
            f"{where}tensor {self.tensor!r}, sample {self.sample}, (c, y, x) = {self.index}: "
            f"expected {self.expected}, {'never made' if self.got is None else f'got {self.got}'}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleDivergence:
    """The first layer whose cycles are not those predicted (``layer`` None: the total).

    ``sample`` is the first of its start, here and in :class:`CounterDivergence`.
    """

    layer: str | None
    sample: int
    predicted: int
    measured: int

    def __str__(self) -> str:
        where = f"layer {self.layer!r}" if self.layer else "the whole program"
        return (
            f"{where}: sample {self.sample}: predicted {self.predicted} cycles, "
            f"measured {self.measured}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterDivergence:
    """The first counter that is not as predicted."""

    counter: enum.IntEnum
    sample: int
    predicted: int
    measured: int

    def __str__(self) -> str:
        name = self.counter.name.lower()
        return (
            f"counter {name}: sample {self.sample}: predicted {self.predicted}, "
            f"measured {self.measured}"
        )


Divergence = ValueDivergence | CycleDivergence | CounterDivergence


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a comparison found.

    Attributes
    ----------
    bit_exact : bool
        Whether every element of every tensor that was compared is equal, in every sample.
    cycle_exact : bool
        Whether the cycles of the program and of each layer are as predicted, in every sample.
    counters_exact : bool
        The same for all counters.
    tensors : int
        How many tensors were compared, in every sample.
    elements : int
        How many values of them, over all samples.
    unmade : int
        How many of their values nobody makes, as no maximum is taken of them.
    unseen : tuple of str
        The tensors that were not compared: they never leave the chip and could not be seen there.
    divergences : tuple
        The first of each kind: values, cycles, counters.
    """

    bit_exact: bool
    cycle_exact: bool
    counters_exact: bool
    tensors: int
    elements: int
    unmade: int
    unseen: tuple[str, ...]
    divergences: tuple[Divergence, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return self.bit_exact and self.cycle_exact and self.counters_exact

    def __str__(self) -> str:
        lines = [str(divergence) for divergence in self.divergences]
        if self.passed:
            equal = f"equal: {self.elements} values of {self.tensors} tensors, cycles and counters"
            beside = (
                f"; {self.unmade} values that nothing needs are not made" if self.unmade else ""
            )
            lines = [equal + beside]
        if self.unseen:
            lines.append(
                f"not compared: {', '.join(self.unseen)}, which never leave the chip and cannot be "
                "seen there; what is made of them is"
            )
        return "\n".join(lines)


def check(
    program: BaseProgram,
    run: Run,
    golden: Mapping[str, np.ndarray],
    timing: Timing | Sequence[Timing],
) -> Verdict:
    """Compare a run with the golden model and the prediction.

    Parameters
    ----------
    program : BaseProgram
        What was run.
    run : Run
        What the hardware did.
    golden : mapping of str to numpy.ndarray
        Codes of every tensor of the network, (N, C, H, W), as
        :func:`celosia.models.golden.evaluate` returns them.
    timing : Timing or sequence of Timing
        The prediction for ``program`` with the run's memory; one for each start where it depends
        on the data.

    All tensors are compared, those too that never leave the chip (``program.kept``), but for those
    in ``run.unseen``: of these, what is made of them is.

    Raises
    ------
    CelosiaError
        When the golden tensors are not those of the program or of other samples: then nothing
        was compared.
    """
    _check_coverage(program, run, golden)
    unseen = tuple(name for name in run.unseen if name in golden)
    golden = {name: codes for name, codes in golden.items() if name not in unseen}
    value = _first_value(program, run, golden)
    each = [timing] * len(run.cycles) if isinstance(timing, Timing) else timing
    if len(each) != len(run.cycles):
        raise CelosiaError(f"{len(run.cycles)} starts need as many predictions, not {len(each)}")
    cycle = _first_cycle(program, run, each)
    counter = _first_counter(program, run, each)
    unmade = sum(int(run.unmade[name].sum()) for name in golden if name in run.unmade)
    return Verdict(
        bit_exact=value is None,
        cycle_exact=cycle is None,
        counters_exact=counter is None,
        tensors=len(golden),
        elements=sum(run.tensors[name].size for name in golden) - unmade,
        unmade=unmade,
        unseen=unseen,
        divergences=tuple(found for found in (value, cycle, counter) if found is not None),
    )


def _check_coverage(program: BaseProgram, run: Run, golden: Mapping[str, np.ndarray]) -> None:
    for name in (*program.inputs, *program.outputs):
        if name not in golden:
            raise CelosiaError(f"tensor {name!r} is not in the golden model's: nothing is shown")
    for layer in program.layers:
        if not set(layer.outputs) & set(golden):
            raise CelosiaError(
                f"layer {layer.name!r} writes {', '.join(layer.outputs)}: the golden model has "
                "none of them"
            )
    for name, codes in golden.items():
        if name in run.unseen:
            continue
        if name not in run.tensors:
            raise CelosiaError(f"tensor {name!r} of the golden model is nowhere in the program")
        if codes.shape != run.tensors[name].shape:
            raise CelosiaError(
                f"tensor {name!r}: the run has shape {run.tensors[name].shape}, "
                f"the golden model {codes.shape}"
            )


def _order(program: BaseProgram, golden: Mapping[str, np.ndarray]) -> list[tuple[str | None, str]]:
    """Return (layer, tensor) of all of ``golden``: inputs, then in order of execution.

    A concat that costs no copies has no layer; its tensor is that of its sources, and last.
    """
    layer_of = {name: layer.name for layer in program.layers for name in layer.outputs}
    rank = {layer.name: index for index, layer in enumerate(program.layers, 1)}

    def position(item: tuple[str | None, str]) -> int:
        layer, name = item
        if layer is not None:
            return rank[layer]
        return 0 if name in program.inputs else len(rank) + 1

    return sorted(((layer_of.get(name), name) for name in golden), key=position)


def _first_value(
    program: BaseProgram, run: Run, golden: Mapping[str, np.ndarray]
) -> ValueDivergence | None:
    for layer, name in _order(program, golden):
        wrong = run.wrong(name, golden[name])
        if wrong.any():
            sample, c, y, x = (int(i) for i in np.argwhere(wrong)[0])
            expected = int(golden[name][sample, c, y, x])
            return ValueDivergence(
                layer=layer,
                tensor=name,
                sample=sample,
                index=(c, y, x),
                expected=expected,
                got=run.got(name, (sample, c, y, x), expected),
            )
    return None


def _first_cycle(
    program: BaseProgram, run: Run, timings: Sequence[Timing]
) -> CycleDivergence | None:
    for start, (measured, timing) in enumerate(zip(run.layer_cycles, timings, strict=True)):
        sample = start * program.samples
        for layer, got in zip(timing.layers, measured, strict=True):
            if layer.cycles != got:
                return CycleDivergence(
                    layer=layer.name, sample=sample, predicted=layer.cycles, measured=int(got)
                )
        if run.cycles[start] != timing.cycles:
            return CycleDivergence(
                layer=None,
                sample=sample,
                predicted=timing.cycles,
                measured=int(run.cycles[start]),
            )
    return None


def _first_counter(
    program: BaseProgram, run: Run, timings: Sequence[Timing]
) -> CounterDivergence | None:
    for counter, measured in run.counters.items():
        expected = np.array([timing.counters[counter] for timing in timings], np.int64)
        wrong = np.flatnonzero(measured != expected)
        if wrong.size:
            return CounterDivergence(
                counter=counter,
                sample=int(wrong[0]) * program.samples,
                predicted=int(expected[wrong[0]]),
                measured=int(measured[wrong[0]]),
            )
    return None

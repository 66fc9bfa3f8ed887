"""The cross-check finds what differs, names the first, and shows when it happened."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import DDR4
from celosia.dataflow.program import Counter, Program
from celosia.dataflow.timing import LayerTiming, Timing, timing
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.random_network import random_network
from celosia.sim.check import (
    CounterDivergence,
    CycleDivergence,
    ValueDivergence,
    check,
)
from celosia.sim.locate import locate
from celosia.sim.run import Run, Simulator
from celosia.sim.seen import NEVER

from .faulty import ACCELERATOR, FaultySimulator

FORMATS = tuple(group.format for group in ACCELERATOR.array.columns)
NETWORK = random_network(2, FORMATS)
Case = tuple[Program, Run, dict[str, np.ndarray], Timing]


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return FaultySimulator()  # with no fault: the traced build that other tests have as well


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    tensors = [NETWORK.tensor(name) for name in NETWORK.inputs]
    return {t.name: rng.integers(0, t.format.high + 1, (3, *t.shape)) for t in tensors}


@pytest.fixture(scope="module")
def case(simulator: Simulator, inputs: dict[str, np.ndarray]) -> Case:
    program = compile_network(NETWORK, ACCELERATOR)
    run = simulator.run(program, inputs)
    return program, run, evaluate(NETWORK, inputs), timing(program, DDR4)


def test_equal(case: Case) -> None:
    program, run, golden, predicted = case
    verdict = check(program, run, golden, predicted)
    assert verdict.passed
    assert verdict.divergences == ()
    assert verdict.elements == sum(codes.size for codes in golden.values())
    assert str(verdict).startswith(f"equal: {verdict.elements} values of")


def test_what_could_not_be_seen_is_said(case: Case) -> None:
    program, run, golden, predicted = case
    name = next(op.output for op in NETWORK.ops if op.output not in program.outputs)
    tensors = {key: codes for key, codes in run.tensors.items() if key != name}
    blind = replace(run, tensors=tensors, unseen=(name,))
    verdict = check(program, blind, golden, predicted)
    assert verdict.passed
    assert verdict.tensors == len(golden) - 1
    assert f"not compared: {name}, which never leave the chip" in str(verdict)
    with pytest.raises(CelosiaError, match="is nowhere in the program"):
        check(program, replace(run, tensors=tensors), golden, predicted)


def test_what_was_made_again_and_otherwise_is_named(case: Case) -> None:
    """A code that is right and was once wrong; one that nobody makes; one that never was."""
    program, run, golden, predicted = case
    name, shape = NETWORK.outputs[0], golden[NETWORK.outputs[0]].shape
    flat = int(np.ravel_multi_index((1, 0, 0, 0), shape))
    twice = np.array([flat, flat]), golden[name][1, 0, 0, 0] + np.array([0, 5])
    found = check(program, replace(run, others={name: twice}), golden, predicted).divergences[0]
    assert isinstance(found, ValueDivergence)
    assert (found.sample, found.index) == (1, (0, 0, 0))
    assert found.got == found.expected + 5
    unmade = np.zeros(shape, bool)
    unmade[0, 0, 0, 0] = True
    wrong = altered(golden, {name: (0, 0, 0, 0)})
    verdict = check(program, replace(run, unmade={name: unmade}), wrong, predicted)
    assert verdict.passed
    assert verdict.unmade == 1
    assert "1 values that nothing needs are not made" in str(verdict)
    lost = {**run.tensors, name: run.tensors[name].copy()}
    lost[name][0, 0, 0, 0] = NEVER
    found = check(program, replace(run, tensors=lost), golden, predicted).divergences[0]
    assert str(found).endswith(f"expected {golden[name][0, 0, 0, 0]}, never made")


def altered(
    golden: dict[str, np.ndarray], where: dict[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    result = {name: codes.copy() for name, codes in golden.items()}
    for name, index in where.items():
        result[name][index] += 1
    return result


def test_first_value_is_named(case: Case) -> None:
    program, run, golden, predicted = case
    first, last = program.layers[0].outputs[0], program.layers[-1].outputs[0]
    shape = golden[first].shape
    index = (1, shape[1] - 1, shape[2] - 1, shape[3] - 1)
    verdict = check(program, run, altered(golden, {last: (0, 0, 0, 0), first: index}), predicted)
    (found,) = verdict.divergences
    assert not verdict.bit_exact
    assert verdict.cycle_exact
    assert verdict.counters_exact
    assert found == ValueDivergence(
        layer=program.layers[0].name,
        tensor=first,
        sample=1,
        index=index[1:],
        expected=int(golden[first][index]) + 1,
        got=int(golden[first][index]),
    )
    assert f"layer {program.layers[0].name!r}: tensor {first!r}, sample 1" in str(verdict)


def test_first_layer_with_other_cycles_is_named(case: Case) -> None:
    program, run, golden, predicted = case
    layers = list(predicted.layers)
    layers[1] = LayerTiming(name=layers[1].name, cycles=layers[1].cycles + 7)
    verdict = check(program, run, golden, replace(predicted, layers=tuple(layers)))
    (found,) = verdict.divergences
    assert found == CycleDivergence(
        layer=layers[1].name,
        sample=0,
        predicted=layers[1].cycles,
        measured=layers[1].cycles - 7,
    )
    assert not verdict.cycle_exact
    assert "predicted" in str(verdict)


def test_total_cycles_are_compared(case: Case) -> None:
    program, run, golden, predicted = case
    verdict = check(program, run, golden, replace(predicted, cycles=predicted.cycles + 1))
    (found,) = verdict.divergences
    assert isinstance(found, CycleDivergence)
    assert found.layer is None
    assert str(found).startswith("the whole program: sample 0")


def test_counter_is_named(case: Case) -> None:
    program, run, golden, predicted = case
    counters = dict(predicted.counters)
    counters[Counter.WEIGHT_READS] += 1
    verdict = check(program, run, golden, replace(predicted, counters=counters))
    (found,) = verdict.divergences
    assert isinstance(found, CounterDivergence)
    assert found.counter is Counter.WEIGHT_READS
    assert str(found).startswith("counter weight_reads: sample 0")


@pytest.mark.parametrize("what", ["missing", "unknown", "samples", "layer"])
def test_what_is_not_compared_is_refused(case: Case, what: str) -> None:
    program, run, golden, predicted = case
    wrong = dict(golden)
    if what == "missing":
        del wrong[NETWORK.outputs[0]]
    elif what == "unknown":
        wrong["nobody"] = golden[NETWORK.outputs[0]]
    elif what == "samples":
        wrong[NETWORK.outputs[0]] = golden[NETWORK.outputs[0]][:1]
    else:
        kept = {*program.inputs, *program.outputs}
        wrong = {name: codes for name, codes in golden.items() if name in kept}
    with pytest.raises(CelosiaError, match="golden model"):
        check(program, run, wrong, predicted)


def test_value_is_located(
    simulator: Simulator, case: Case, inputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    program, run, golden, predicted = case
    layer = program.layers[1]
    verdict = check(program, run, altered(golden, {layer.outputs[0]: (2, 0, 0, 0)}), predicted)
    path = tmp_path / "round.fst"
    found = locate(simulator, program, inputs, run, verdict.divergences[0], trace=path)
    ends = np.cumsum(run.layer_cycles[2])
    assert found.cycle is not None
    assert ends[0] < found.cycle < ends[1]
    assert found.trace == path
    assert path.stat().st_size > 1000
    assert found.first <= found.cycle
    assert "signals from cycle" in str(found)
    assert [file.name for file in tmp_path.iterdir()] == ["round.fst"]


def test_cycles_and_counters_are_located(
    simulator: Simulator, case: Case, inputs: dict[str, np.ndarray]
) -> None:
    program, run, _, _ = case
    ends = np.cumsum(run.layer_cycles[0])
    late = CycleDivergence(layer=run.layer_names[1], sample=0, predicted=5, measured=9)
    assert locate(simulator, program, inputs, run, late).cycle == ends[1] - 4
    early = CycleDivergence(layer=run.layer_names[1], sample=0, predicted=9, measured=5)
    assert locate(simulator, program, inputs, run, early).cycle == ends[1]
    counter = CounterDivergence(counter=Counter.CYCLES, sample=0, predicted=1, measured=2)
    assert locate(simulator, program, inputs, run, counter).cycle == run.cycles[0]


def test_input_is_never_written(
    simulator: Simulator, case: Case, inputs: dict[str, np.ndarray]
) -> None:
    program, run, _, _ = case
    divergence = ValueDivergence(
        layer=None, tensor=program.inputs[0], sample=0, index=(0, 0, 0), expected=1, got=0
    )
    found = locate(simulator, program, inputs, run, divergence)
    assert found.cycle is None
    assert str(found) == "never written"

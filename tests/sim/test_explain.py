"""Injected faults are located: the layer, the unit, and what fed the wrong value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow import compile as compiler
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Buffer, Compute, Load, Post, Store
from celosia.dataflow.memory import DDR4
from celosia.dataflow.packing import weight_words
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.program import Counter, Program
from celosia.dataflow.tiles import ChannelTile
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.network import Conv, Network, Requant, Tensor, Window
from celosia.models.random_network import random_network
from celosia.scripts import built
from celosia.scripts import simulate as command
from celosia.sim.blame import Suspect
from celosia.sim.check import CounterDivergence, CycleDivergence, ValueDivergence, check
from celosia.sim.explain import explain
from celosia.sim.explanation import Explanation
from celosia.sim.run import Simulator

from .faulty import ACCELERATOR, Fault, FaultySimulator

FORMATS = tuple(group.format for group in ACCELERATOR.array.columns)
Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(ACCELERATOR)


def inputs_of(network: Network, seed: int = 5) -> Tensors:
    rng = np.random.default_rng(seed)
    tensors = [network.tensor(name) for name in network.inputs]
    return {t.name: rng.integers(t.format.low, t.format.high + 1, (2, *t.shape)) for t in tensors}


def explained(
    simulator: Simulator, network: Network, program: Program, trace: Path | None = None
) -> Explanation:
    """Run ``program`` and explain its first difference."""
    inputs = inputs_of(network)
    run, golden = simulator.run(program, inputs), evaluate(network, inputs)
    verdict = check(program, run, golden, timing(program, DDR4))
    assert not verdict.bit_exact, "the fault does nothing"
    first = verdict.divergences[0]
    assert isinstance(first, ValueDivergence)
    found = explain(simulator, network, program, inputs, run, golden, first, trace=trace)
    assert found.divergence is first
    assert found.as_dict()["layer"] == first.layer
    assert found.steps >= len(found.fed)
    return found


@pytest.fixture(scope="module")
def network() -> Network:
    """Two convolutions, whose weights all columns hold and whose sums often end in a half."""
    rng = np.random.default_rng(11)
    shapes = {"x": (4, 5, 6), "a": (6, 5, 6), "b": (4, 5, 6)}
    tensors = tuple(
        Tensor(name=name, shape=shape, format=Fixed(bits=8, signed=name != "x"), scale=1.0)
        for name, shape in shapes.items()
    )

    def conv(source: str, output: str, size: int) -> Conv:
        rows, lanes = shapes[output][0], shapes[source][0]
        weights = rng.choice((-4, -2, -1, 1, 2, 4), (rows, lanes, size, size))
        ones = np.ones(rows, np.int64)
        return Conv(
            name=f"to_{output}",
            input=source,
            output=output,
            window=Window(kernel=(size, size), padding=(size // 2,) * 4),
            groups=1,
            weights=weights,
            formats=tuple(FORMATS[row % len(FORMATS)] for row in range(rows)),
            requant=Requant(
                bias=rng.integers(-9, 9, rows), positive=ones, negative=ones,
                residual=0 * ones, shift=4 * ones, low=-128, high=127,
            ),
        )  # fmt: skip

    return Network(
        name="two",
        tensors=tensors,
        inputs=("x",),
        outputs=("b",),
        ops=(conv("x", "a", 3), conv("a", "b", 1)),
    )


@pytest.fixture(scope="module")
def program(network: Network) -> Program:
    return compile_network(network, ACCELERATOR)


LAYER = "to_b"


def first_of(program: Program, kind: type, buffer: Buffer | None = None) -> int:
    """Return the index of the first descriptor of ``kind`` in the second layer."""
    layer = program.layers[1]
    assert layer.name == LAYER
    return next(
        index
        for index in range(layer.first, layer.stop)
        if isinstance(program.descriptors[index], kind)
        and (buffer is None or getattr(program.descriptors[index], "target", None) is buffer)
    )


def with_bit_flipped(program: Program, buffer: Buffer, bit: int) -> tuple[Program, int]:
    """Return ``program`` with a bit of the first word for ``buffer`` flipped, and its address."""
    load = program.descriptors[first_of(program, Load, buffer)]
    assert isinstance(load, Load)
    image = program.image.copy()
    image[load.transfer.address - program.base_address + bit // 8] ^= 1 << bit % 8
    return replace(program, image=image), load.transfer.address


def test_wrong_weight(simulator: Simulator, network: Network, program: Program) -> None:
    broken, address = with_bit_flipped(program, Buffer.WEIGHTS, 1)
    found = explained(simulator, network, broken)
    assert found.suspect is Suspect.WEIGHTS, found.lines()
    assert f"column 0, lane 0 of the weight word at address {address:#x} holds" in found.reason
    assert found.as_dict()["layer"] == LAYER
    assert found.told == getattr(found.divergence, "got", None)
    assert any(step.weight_address == address for step in found.fed)
    assert f"memory {address:#x}" in "\n".join(found.lines())


def test_swapped_channels(
    simulator: Simulator, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packing exchanges two channels, and the compiler says it again when it is asked."""

    def swapped(plan: StepPlan, tile: ChannelTile) -> np.ndarray:
        if plan.step.name == LAYER:
            tile = replace(tile, channels=tile.channels[::-1])
        return weight_words(plan, tile)

    monkeypatch.setattr(compiler, "weight_words", swapped)
    found = explained(simulator, network, compile_network(network, ACCELERATOR))
    assert found.suspect is Suspect.CHANNELS, found.lines()
    assert "column 0, of channel 0, holds the weights of channel 1" in found.reason
    assert found.as_dict()["layer"] == LAYER


def test_wrong_constant(simulator: Simulator, network: Network, program: Program) -> None:
    broken, address = with_bit_flipped(program, Buffer.CONSTANTS, 6)
    found = explained(simulator, network, broken)
    assert found.suspect is Suspect.CONSTANTS, found.lines()
    assert f"bias of channel 0 at address {address:#x} is" in found.reason
    assert found.as_dict()["layer"] == LAYER


def moved(descriptor: Compute | Load | Post | Store) -> Compute | Load | Post | Store:
    """Return the descriptor with one address that is one place off."""
    match descriptor:
        case Compute():
            return replace(descriptor, activations=descriptor.activations + 1)
        case Post():
            return replace(descriptor, constants=descriptor.constants + 1)
        case Load() | Store():
            t = descriptor.transfer
            return replace(descriptor, transfer=replace(t, buffer_address=t.buffer_address + 1))


@pytest.mark.parametrize("kind", [Compute, Load, Post, Store])
def test_address_in_a_descriptor(
    simulator: Simulator, network: Network, program: Program, kind: type
) -> None:
    index = first_of(program, kind)
    descriptors = list(program.descriptors)
    descriptors[index] = moved(descriptors[index])  # type: ignore[arg-type]
    found = explained(simulator, network, replace(program, descriptors=tuple(descriptors)))
    assert found.suspect is Suspect.DESCRIPTOR, found.lines()
    assert found.descriptor == index
    assert f"descriptor {index}, of the {kind.__name__.lower()} unit: " in found.reason
    assert found.as_dict()["layer"] == LAYER


FAULTS = {
    Fault.ROUNDING: (Suspect.POST, "outputs"),
    Fault.LOAD_ADDRESS: (Suspect.LOAD, "activations"),
    Fault.WEIGHT_ADDRESS: (Suspect.COMPUTE, "accumulators"),
    Fault.STORE_ADDRESS: (Suspect.STORE, "the output buffer held the right code"),
    Fault.CONSTANT_ADDRESS: (Suspect.POST, "outputs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_in_hardware(
    network: Network, program: Program, fault: Fault, tmp_path: Path
) -> None:
    found = explained(FaultySimulator(fault), network, program, tmp_path / "x.fst")
    suspect, reason = FAULTS[fault]
    assert found.suspect is suspect, found.lines()
    assert found.reason.startswith(reason)
    assert found.told == getattr(found.divergence, "expected", None)
    assert found.cycles is not None
    layer = next(a for a in program.layers if a.name == found.as_dict()["layer"])
    assert found.descriptor in range(layer.first, layer.stop)
    assert {path.name for path in tmp_path.iterdir()} == {"x.fst", "x.gtkw", "x.sucl"}


@pytest.mark.parametrize("seed", range(6))
def test_sound_hardware_is_as_the_interpreter_says(seed: int) -> None:
    """Every word that is looked at is right in an engine without a fault."""
    network = random_network(seed, FORMATS)
    program = compile_network(network, ACCELERATOR)
    inputs, simulator = inputs_of(network), FaultySimulator()
    run, golden = simulator.run(program, inputs), evaluate(network, inputs)
    layer = program.layers[-1]
    tensor = layer.outputs[-1]
    c, y, x = (n - 1 for n in golden[tensor].shape[1:])
    value = int(golden[tensor][1, c, y, x])
    wrong = ValueDivergence(
        layer=layer.name, tensor=tensor, sample=1, index=(c, y, x), expected=value, got=value + 1
    )
    found = explain(simulator, network, program, inputs, run, golden, wrong)
    # Nothing inside differs, so all that is left is the way to memory.
    assert found.suspect is Suspect.STORE, found.lines()
    assert found.told == value


def test_command_explains(
    network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(built, "Simulator", lambda *_, **__: FaultySimulator(Fault.ROUNDING))
    look = command.Look(trace=tmp_path / "x.fst", explain=True)
    found = command.simulate(network, ACCELERATOR, inputs_of(network), DDR4, look=look)
    assert not found.holds
    value = found.as_dict()["explanation"]
    assert value["suspect"] == "post"
    assert value["layer"] == "to_a"
    assert value["views"]["gtkwave"] == str(tmp_path / "x.gtkw")
    said = found.verdict_line()
    assert "suspect: post unit: outputs[" in said
    assert f"gtkwave {tmp_path / 'x.gtkw'}, or surfer -c {tmp_path / 'x.sucl'}" in said


def test_chosen_cycles_are_traced(
    network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(built, "Simulator", lambda *_, **__: FaultySimulator())
    look = command.Look(trace=tmp_path / "layer.fst", layer=LAYER)
    found = command.simulate(network, ACCELERATOR, inputs_of(network), DDR4, look=look)
    assert found.holds
    assert found.views is not None
    begin, end = look.cycles(found.run)
    assert (begin, end) == tuple(found.run.layer_cycles[0].cumsum())
    for wrong, message in (
        (command.Look(trace=tmp_path / "no.fst", layer="x"), "the layers are to_a, to_b"),
        (command.Look(trace=tmp_path / "no.fst", window=(10**6, 10**7)), "are not in the start"),
    ):
        with pytest.raises(CelosiaError, match=message):
            command.simulate(network, ACCELERATOR, inputs_of(network), DDR4, look=wrong)
    with pytest.raises(CelosiaError, match="both choose cycles"):
        command.Look(trace=tmp_path / "no.fst", layer="x", window=(1, 2))
    with pytest.raises(ValueError, match="trace must be a file"):
        command.Look(window=(1, 2))
    assert not (tmp_path / "no.fst").exists()


def test_cycles_and_counters_are_explained(network: Network, program: Program) -> None:
    simulator, inputs = FaultySimulator(), inputs_of(network)
    run, golden = simulator.run(program, inputs), evaluate(network, inputs)
    late = CycleDivergence(layer=LAYER, sample=0, predicted=5, measured=9)
    found = explain(simulator, network, program, inputs, run, golden, late)
    assert found.suspect is Suspect.TIMING
    assert found.cycles == (found.location.cycle,) * 2
    busy = CounterDivergence(counter=Counter.LOAD_BUSY, sample=0, predicted=1, measured=2)
    found = explain(simulator, network, program, inputs, run, golden, busy)
    assert found.suspect is Suspect.LOAD
    assert "suspect: load unit: it steps the counter" in found.lines()

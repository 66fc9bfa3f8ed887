"""Tensors that never leave the chip are compared: a fault that the outputs hide is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Buffer, Load
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.mapping import Dimension, Mapping, tiled
from celosia.dataflow.memory import DDR4
from celosia.dataflow.program import Program
from celosia.dataflow.timing import timing
from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.network import Conv, MaxPool, Network, Requant, Tensor, Window
from celosia.models.random_network import random_inputs
from celosia.sim import seen
from celosia.sim.blame import Suspect
from celosia.sim.check import ValueDivergence, Verdict, check
from celosia.sim.explain import explain
from celosia.sim.explanation import Explanation
from celosia.sim.run import Run, Simulator

from .faulty import ACCELERATOR, Fault, FaultySimulator

FORMATS = tuple(group.format for group in ACCELERATOR.array.columns)
POOL = Window(kernel=(2, 2), stride=(2, 2))


def chain() -> Network:
    """Four layers and a maximum; the last layer gives its bias, whatever it reads."""
    rng = np.random.default_rng(11)
    names = ("x", "a", "b", "c", "pooled", "last")
    sizes = dict.fromkeys(names[:4], (5, 7)) | dict.fromkeys(names[4:], (2, 3))
    tensors = tuple(
        Tensor(
            name=n,
            shape=(6, sizes[n][0], sizes[n][1]),
            format=Fixed(bits=8, signed=n != "x"),
            scale=1.0,
        )
        for n in names
    )

    def conv(source: str, output: str, size: int) -> Conv:
        ones = np.ones(6, np.int64)
        factor = 0 * ones if output == "last" else ones
        edge = size // 2
        return Conv(
            name=f"to_{output}",
            input=source,
            output=output,
            window=Window(kernel=(size, size), padding=(edge, edge, edge, edge)),
            groups=1,
            weights=rng.choice((-4, -2, -1, 1, 2, 4), (6, 6, size, size)),
            formats=tuple(FORMATS[row % len(FORMATS)] for row in range(6)),
            requant=Requant(
                bias=rng.integers(-9, 9, 6), positive=factor, negative=factor,
                residual=0 * ones, shift=4 * ones, low=-128, high=127,
            ),
        )  # fmt: skip

    return Network(
        name="chain",
        tensors=tensors,
        inputs=("x",),
        outputs=("last",),
        ops=(
            conv("x", "a", 1),
            conv("a", "b", 3),
            conv("b", "c", 3),
            MaxPool(name="pool", input="c", output="pooled", window=POOL),
            conv("pooled", "last", 1),
        ),
    )


NETWORK = chain()


@pytest.fixture(scope="module")
def mapping() -> Mapping:
    """All inputs but the network's own stay on chip; two samples in one start."""
    mapping = replace(default_mapping(NETWORK, ACCELERATOR), samples=2)
    for name in ("to_b", "to_c", "to_last"):
        mapping = mapping.replaced(name, replace(tiled(((Dimension.K, 1),)), resident=True))
    return mapping


@pytest.fixture(scope="module")
def program(mapping: Mapping) -> Program:
    program = compile_network(NETWORK, ACCELERATOR, mapping)
    assert program.kept == ("a", "b", "c", "pooled")
    return program


def compared(simulator: Simulator, program: Program) -> tuple[Verdict, Run]:
    inputs = random_inputs(NETWORK, 4, 5)
    run = simulator.run(program, inputs)
    return check(program, run, evaluate(NETWORK, inputs), timing(program, DDR4)), run


def explained(
    simulator: Simulator, program: Program, mapping: Mapping, trace: Path | None = None
) -> Explanation:
    """Explain the first difference of a run, whose outputs are as they must be."""
    inputs = random_inputs(NETWORK, 4, 5)
    golden = evaluate(NETWORK, inputs)
    verdict, run = compared(simulator, program)
    assert np.array_equal(run.tensors["last"], golden["last"])
    first = verdict.divergences[0]
    assert isinstance(first, ValueDivergence)
    return explain(
        simulator, NETWORK, program, inputs, run, golden, first, mapping=mapping, trace=trace
    )


def test_all_tensors_are_compared(program: Program) -> None:
    verdict, _ = compared(FaultySimulator(), program)
    assert verdict.passed, verdict
    assert (verdict.tensors, verdict.unseen) == (6, ())
    # The maxima leave out a row and a column of c.
    assert verdict.unmade == 4 * 6 * 11
    assert verdict.elements == 4 * 6 * (3 * 35 + 24 + 2 * 6)


def test_dead_array_is_named_at_the_first_layer(program: Program, mapping: Mapping) -> None:
    found = explained(FaultySimulator(Fault.DEAD_ARRAY), program, mapping)
    assert (found.as_dict()["layer"], found.suspect) == ("to_a", Suspect.COMPUTE), found.lines()
    assert found.location.cycle is not None


def test_word_kept_in_the_wrong_place(program: Program, mapping: Mapping, tmp_path: Path) -> None:
    """Post made it right: the layer that reads it is the first to be wrong."""
    simulator = FaultySimulator(Fault.KEEP_ADDRESS)
    found = explained(simulator, program, mapping, tmp_path / "x.fst")
    assert (found.as_dict()["layer"], found.suspect) == ("to_b", Suspect.STORE), found.lines()
    assert found.reason.startswith("activations[")
    assert found.cycles is not None
    assert found.location.cycle is not None
    assert found.cycles[0] < found.location.cycle
    assert (tmp_path / "x.fst").exists()


@pytest.mark.parametrize(("layer", "tensor"), [("to_b", "b"), ("to_c", "c")])
def test_wrong_weight_in_the_middle(
    program: Program, mapping: Mapping, layer: str, tensor: str
) -> None:
    """Of the second, the sum of one column, maxima are taken before anything keeps it."""
    own = next(a for a in program.layers if a.name == layer)
    load = next(
        d
        for d in program.descriptors[own.first : own.stop]
        if isinstance(d, Load) and d.target is Buffer.WEIGHTS
    )
    image = program.image.copy()
    image[load.transfer.address - program.base_address] ^= 2
    found = explained(FaultySimulator(), replace(program, image=image), mapping)
    first = found.divergence
    assert isinstance(first, ValueDivergence)
    assert (first.layer, first.tensor, found.told) == (layer, tensor, first.got), found.lines()
    assert found.suspect in (Suspect.WEIGHTS, Suspect.PROGRAM)
    assert found.location.cycle is not None


def test_rounding_of_what_maxima_hide(program: Program, mapping: Mapping) -> None:
    found = explained(FaultySimulator(Fault.ROUNDING), program, mapping)
    assert (found.as_dict()["layer"], found.suspect) == ("to_a", Suspect.POST), found.lines()


def test_no_signals_to_be_seen(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of hardware with other names, such as a netlist, what is in memory is compared, and said."""
    monkeypatch.setattr(seen, "core_name", lambda _: "netlist")
    verdict, run = compared(FaultySimulator(), program)
    assert verdict.passed
    assert run.unseen == ("a", "b", "c", "pooled")
    assert verdict.tensors == 2
    assert "not compared: a, b, c, pooled, which never leave the chip" in str(verdict)

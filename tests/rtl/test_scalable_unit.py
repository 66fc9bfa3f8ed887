# amaranth: UnusedElaboratable=no
"""Units against plain integers: all operands of up to 8 bits, all bits of operands of up to 16.

A sum is made of its operands' bits by gates and adders alone, which ``test_scalable_proofs.py``
proves for one pass: it is a sum over pairs of a weight's bit and an activation's, each of some
worth. Which passes there are and how they are shifted depends on the precisions, not on operands.
So what each pair alone gives says what all operands give.

Compiled benches, as Amaranth's simulator would take hours. Cycles are counted too: from one word
to the next there are as many as its passes, whatever the precisions of the two.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.precision import pass_factors
from celosia.rtl.scalable.unit import ScalableUnit
from celosia.rtl.verilog import write_verilog

from .compiled import compile_program

CIRCUITS = [circuit for circuit in Circuit if circuit.scalable]
LANES = {Circuit.TILE: 4, Circuit.FUSION: 16, Circuit.SERIAL: 6}
SEED = 2109
SOURCE = Path(__file__).parent / "scalable_vectors.cpp"


@pytest.fixture(scope="module", params=CIRCUITS, ids=lambda circuit: circuit.value)
def bench(request) -> tuple[Circuit, Path]:
    unit = ScalableUnit(circuit=request.param, lanes=LANES[request.param])
    return request.param, compile_program(write_verilog(unit), unit.module_name, SOURCE)


def run(circuit: Circuit, program: Path, mode: str, count: int) -> tuple[int, int]:
    """Run the bench; returns the words and the cycles that they took."""
    widths = range(1, 17)
    table = " ".join(
        str(pass_factors(circuit, weights)[0] * pass_factors(circuit, activations)[1])
        for weights in widths
        for activations in widths
    )
    print("seed", SEED)
    done = subprocess.run(
        [program, str(LANES[circuit]), str(SEED), mode, str(count)],
        input=table, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    found = re.fullmatch(r"(\d+) words (\d+) cycles\n", done.stdout)
    assert found is not None, done.stdout
    return int(found[1]), int(found[2])


def test_all_operands_up_to_8_bits(bench: tuple[Circuit, Path]) -> None:
    words, _ = run(*bench, "all", 8)
    assert words == 4 * sum(2**bits for bits in range(1, 9)) ** 2


def test_all_pairs_of_bits(bench: tuple[Circuit, Path]) -> None:
    words, _ = run(*bench, "bits", 16)
    assert words == 4 * LANES[bench[0]] * sum(range(1, 17)) ** 2


def test_random_operands_up_to_16_bits(bench: tuple[Circuit, Path]) -> None:
    words, cycles = run(*bench, "random", 400)
    assert words == 256 * 400
    circuit, widths = bench[0], range(1, 17)
    factors = [pass_factors(circuit, bits) for bits in widths]
    assert cycles == 400 * sum(w for w, _ in factors) * sum(a for _, a in factors)


def test_stalls(bench: tuple[Circuit, Path]) -> None:
    words, _ = run(*bench, "stalls", 40)
    assert words == 256 * 40


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_100_000_operands_of_each_precision(bench: tuple[Circuit, Path]) -> None:
    words, _ = run(*bench, "random", 100_000)
    assert words == 25_600_000

"""The chooser: published ratios, budgets kept, and no better mix by exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.mix import MEASURED, Budget, ColumnCost, choose_mix, known_costs
from celosia.models.errors import CelosiaError

SP2_LUT = 24.4
"""Look-up tables of an SP2 product with its share of the adder tree and accumulator."""


def cost(circuit: Circuit, lut: float, dsp: float = 0.0) -> ColumnCost:
    return ColumnCost(weights="fixed4", activation_bits=4, circuit=circuit, lut=lut, dsp=dsp)


@pytest.mark.parametrize(
    ("lut", "dsp", "shares"),
    [
        (53_200, 220, (86, 75, 60)),  # XC7Z020
        (218_600, 900, (86, 75, 60)),  # XC7Z045
        (274_080, 2_520, (73, 57, 40)),  # ZCU102
    ],
)
def test_shares_of_devices(lut: int, dsp: int, shares: tuple[int, ...]) -> None:
    """Products in look-up tables where 60 % of them are used, with 1, 2 and 4 products a DSP."""
    for pack, share in zip((1, 2, 4), shares, strict=True):
        kinds = (cost(Circuit.LUTS, SP2_LUT), cost(Circuit.DSP, 0, 1 / pack))
        mix = choose_mix(kinds, Budget(lut=0.6 * lut, dsp=dsp))
        assert round(100 * mix.share(Circuit.LUTS)) == share
        assert mix.products == int(0.6 * lut / SP2_LUT) + dsp * pack


# "Mix and Match", table of designs: 16 lanes, 16 fixed-point columns, batch 1 and 4, 100 MHz.
# What its look-up tables cost is not published: one shell and one cost of an SP2 product were
# chosen for both devices (57.6 to 69.6 tables a product serve), with 80 % of the tables usable.
SHELL_LUT, USABLE, PUBLISHED_SP2_LUT, FIXED_LUT = 12_000, 0.8, 62, 15


@pytest.mark.parametrize(
    ("lut", "batch", "ratio", "gops"),
    [(53_200, 1, 1.5, 132), (218_600, 4, 2.0, 624)],
    ids=["XC7Z020", "XC7Z045"],
)
def test_published_ratios(lut: int, batch: int, ratio: float, gops: float) -> None:
    lanes, fixed_columns, granule = 16, 16, 8 * 16 * batch
    fixed = fixed_columns * lanes * batch
    # As many DSPs as the published fixed-point columns need, two products each.
    kinds = (cost(Circuit.DSP, FIXED_LUT, 0.5), cost(Circuit.LUTS, PUBLISHED_SP2_LUT))
    mix = choose_mix(kinds, Budget(lut=USABLE * lut - SHELL_LUT, dsp=fixed / 2), granule=granule)
    by_circuit = {part.cost.circuit: part.products for part in mix.parts}
    assert by_circuit[Circuit.DSP] == fixed
    assert by_circuit[Circuit.LUTS] / fixed == ratio
    assert mix.gops(100) == pytest.approx(gops, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_no_better_mix(seed: int) -> None:
    """Of two kinds, every pair of counts; of three, no better one by more than a granule each."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    kinds = [
        cost(Circuit.DSP, float(rng.uniform(1, 5)), float(rng.uniform(0.25, 1))),
        cost(Circuit.LANES, float(rng.uniform(1, 9)), float(rng.uniform(0.1, 1))),
        cost(Circuit.LUTS, float(rng.uniform(5, 30))),
    ]
    budget = Budget(lut=float(rng.uniform(50, 300)), dsp=float(rng.uniform(5, 15)))
    best = choose_mix(kinds[::2], budget)
    counts = [range(budget.holds(kind) + 1) for kind in kinds]
    assert best.products == max(
        a + b
        for a, b in itertools.product(counts[0], counts[2])
        if a * kinds[0].lut + b * kinds[2].lut <= budget.lut and a * kinds[0].dsp <= budget.dsp
    )
    assert best.lut <= budget.lut + 1e-6
    assert best.dsp <= budget.dsp + 1e-6
    three = max(
        sum(chosen)
        for chosen in itertools.product(*counts)
        if sum(n * kind.lut for n, kind in zip(chosen, kinds, strict=True)) <= budget.lut
        and sum(n * kind.dsp for n, kind in zip(chosen, kinds, strict=True)) <= budget.dsp
    )
    assert best.products <= choose_mix(kinds, budget).products <= three
    assert three - choose_mix(kinds, budget).products <= 1


def test_refusals() -> None:
    dear = cost(Circuit.LUTS, 100)
    with pytest.raises(CelosiaError, match="no granule of 16 products fits 1000 look-up tables"):
        choose_mix([dear], Budget(lut=1000, dsp=0), granule=16)
    with pytest.raises(ValueError, match="costs must name"):
        choose_mix([], Budget(lut=1, dsp=1))
    with pytest.raises(ValueError, match="granule must be at least 1, not 0"):
        choose_mix([dear], Budget(lut=1, dsp=1), granule=0)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="lut must be 0 or more"):
            Budget(lut=wrong, dsp=0)
        with pytest.raises(ValueError, match="dsp must be 0 or more"):
            cost(Circuit.DSP, 1, wrong)
    with pytest.raises(ValueError, match="a product takes something"):
        cost(Circuit.LUTS, 0)
    with pytest.raises(CelosiaError, match="no column was measured with weights of fixed9"):
        known_costs(("fixed9",), 4)


def test_measured_costs() -> None:
    """The issue's bounds hold for what is in the table, and each kind is in it once."""
    kinds = {(c.weights, c.activation_bits, c.circuit): c for c in MEASURED}
    assert len(kinds) == len(MEASURED)
    assert kinds["fixed8", 8, Circuit.DSP].dsp == 1 / 2
    assert kinds["fixed8", 8, Circuit.DSP].lut <= 10
    assert kinds["fixed4", 4, Circuit.DSP].dsp == 1 / 4
    assert kinds["fixed4", 4, Circuit.DSP].lut <= 14
    assert {c.activation_bits for c in known_costs(("fixed4", "sp2_4"), 4)} == {4}

from __future__ import annotations

import pytest

from celosia.dataflow.search import CYCLES, DRAM, EDP, ENERGY, Costs, Objective
from celosia.models.errors import CelosiaError

COSTS = Costs(cycles=10, energy=2.5, dram=7)


def test_scores() -> None:
    assert [o.score(COSTS) for o in (CYCLES, ENERGY, EDP, DRAM)] == [10, 2.5, 25, 7]
    assert Objective.parse("cycles=2,dram=0.5").score(COSTS) == 23.5
    assert Objective.parse("edp") == EDP
    assert Objective.parse("energy") == ENERGY
    assert COSTS + COSTS == Costs(cycles=20, energy=5.0, dram=14)


@pytest.mark.parametrize(
    "text", ["", "time", "cycles=x", "cycles=1,cycles=2", "energy=-1", "dram=0"]
)
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(CelosiaError, match="it is one of cycles, energy, dram, edp, or weights"):
        Objective.parse(text)


def test_weights_are_checked() -> None:
    with pytest.raises(ValueError, match="one weight at least"):
        Objective(name="none")
    with pytest.raises(ValueError, match="numbers of 0 or more"):
        Objective(name="less", cycles=float("nan"))

"""Requantisations found for a real staircase, against every sum that there is."""

from fractions import Fraction

import numpy as np
import pytest

from celosia.models.integer.steps import Rule, Staircase, Ties, fit
from celosia.models.network import Requant, Rounding
from celosia.models.requantise import requantise


def rounded(value: Fraction, rule: Rule) -> int:
    """Round as the rules say, with exact fractions."""
    shifted = value - rule.zero
    size, sign = abs(shifted), 1 if shifted >= 0 else -1
    floor = shifted.__floor__()
    whole = size.__floor__()
    part = size - whole
    codes = {
        Ties.HALF_EVEN: round(shifted),
        Ties.FLOOR: floor,
        Ties.CEIL: -((-shifted).__floor__()),
        Ties.DOWN: sign * whole,
        Ties.UP: sign * (whole + (part > 0)),
        Ties.HALF_UP: sign * (whole + (part >= Fraction(1, 2))),
        Ties.HALF_DOWN: sign * (whole + (part > Fraction(1, 2))),
    }
    return codes[rule.ties] + rule.zero


def stairs(gain: float, offset: float, rule: Rule, low: int = -8, high: int = 7) -> Staircase:
    return Staircase(
        gain=np.array([gain]),
        offset=np.array([offset]),
        least=np.array([-400]),
        most=np.array([411]),
        low=low,
        high=high,
        rule=rule,
    )


def codes(made: Staircase, *, even: bool = True) -> tuple[np.ndarray, np.ndarray, int]:
    """Return what the file says and what the hardware computes of all sums; and the count."""
    sums = np.arange(made.least[0], made.most[0] + 1)
    gain, offset = Fraction(made.gain[0]), Fraction(made.offset[0])
    wanted = [rounded(gain * int(value) + offset, made.rule) for value in sums]
    found = fit(made, even=even)
    requant = Requant(
        bias=found.bias,
        positive=found.multiplier,
        negative=found.multiplier,
        residual=0 * found.bias,
        shift=found.shift,
        low=made.low,
        high=made.high,
        rounding=Rounding.HALF_EVEN if even else Rounding.HALF_UP,
    )
    got = requantise(sums[:, None], requant)[:, 0]
    assert found.differ is not None
    return np.clip(wanted, made.low, made.high), got, int(found.differ[0])


@pytest.mark.parametrize("ties", list(Ties))
@pytest.mark.parametrize("seed", range(4))
def test_the_count_is_that_of_all_sums(ties: Ties, seed: int) -> None:
    random = np.random.default_rng(seed)
    gain = float(random.uniform(0.004, 0.6)) if seed % 2 else 2.0 ** -int(random.integers(1, 6))
    rule = Rule(ties=ties, zero=int(random.integers(-3, 4)))
    made = stairs(gain, float(random.uniform(-3, 3)), rule)
    wanted, got, count = codes(made, even=ties is Ties.HALF_EVEN)
    assert count == (wanted != got).sum(), f"seed {seed}"
    assert np.abs(wanted - got).max() <= 1
    # Rounding to and from 0 has one step of another width, which no multiplier makes.
    assert ties in (Ties.UP, Ties.DOWN) or count <= 15


def test_powers_of_two_are_exact() -> None:
    for ties in (Ties.HALF_EVEN, Ties.FLOOR, Ties.CEIL):
        for shift in range(1, 7):
            made = stairs(2.0**-shift, 2.0 ** (1 - shift), Rule(ties=ties))
            wanted, got, count = codes(made, even=ties is Ties.HALF_EVEN)
            assert count == 0
            assert np.array_equal(wanted, got)


def test_halves_with_an_odd_zero_point_are_counted() -> None:
    wanted, got, count = codes(stairs(0.25, 3.0, Rule(zero=3)))
    assert count == (wanted != got).sum() > 0


def test_rows_alike_have_the_same_constants() -> None:
    made = stairs(0.0371, 1.3, Rule())
    both = Staircase(
        **{name: np.repeat(getattr(made, name), 3) for name in ("gain", "offset", "least", "most")},
        low=-8,
        high=7,
        rule=Rule(),
    )
    assert fit(both).multiplier.tolist() == fit(made).multiplier.tolist() * 3
    assert fit(both).bias.tolist() == fit(made).bias.tolist() * 3

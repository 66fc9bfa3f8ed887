"""What lanes compute: the published examples, the definitions by hand, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.models.bounds import sum_range
from celosia.models.formats import Fixed, Format, Pot, Sp2, parse_format
from celosia.models.operations import (
    DISTANCE,
    MULTIPLY,
    Kind,
    Operation,
    parse_operation,
    shift,
)


def test_published_adder_example() -> None:
    assert DISTANCE.terms(np.array([3, 4, 7]), np.array([5, -2, 7])).sum() == -8


def test_published_shift_example() -> None:
    """Weights .3, -.12 and .9 are 2**-2, -2**-3 and 2**0, of 14 fraction bits; terms have 8."""
    weights = np.array([1 << 12, -(1 << 11), 1 << 14])
    terms = shift(6).terms(weights, np.array([12, -7, 30]))
    assert terms.tolist() == [768, 224, 7680]
    assert terms.sum() / 256 == 33.875


def test_shifts_round_down_before_the_sign() -> None:
    operation, weights = shift(3), np.array([1, -1, 4, -4, 0])
    assert operation.terms(weights, np.array(7)).tolist() == [0, 0, 3, -3, 0]
    assert operation.terms(weights, np.array(-7)).tolist() == [-1, 1, -4, 4, 0]


@pytest.mark.parametrize("operation", [MULTIPLY, DISTANCE, shift(2)])
@pytest.mark.parametrize("activation", [Fixed(bits=3), Fixed(bits=4, signed=False)])
def test_ranges_hold_every_term(operation: Operation, activation: Fixed) -> None:
    fmt = Pot(bits=4) if operation.kind is Kind.SHIFT else Fixed(bits=4)
    weights = operation.weights(fmt)
    terms = operation.terms(weights[:, None], activation.values)
    low, high = operation.term_range(weights, activation)
    np.testing.assert_array_equal(low, np.minimum(terms.min(axis=1), 0))
    inside = terms.max(axis=1)
    assert (high >= inside).all()
    assert (high == np.maximum(inside, 0)).all() or operation == DISTANCE
    rows = np.resize(weights, (7, 5))
    ranges = operation.term_range(rows, activation)
    for sums, terms in zip(sum_range(operation, rows, activation), ranges, strict=True):
        np.testing.assert_array_equal(sums, terms.sum(axis=1))


def test_names_come_back() -> None:
    for operation in (MULTIPLY, DISTANCE, shift(1), shift(13)):
        assert parse_operation(operation.name) == operation
    assert shift(6).name == "shift_6"
    for name in ("", "add", "shift", "shift_", "shift_x", "shift_123", "distance_1"):
        with pytest.raises(ValueError, match=rf"unknown operation '{name}': known are multiply"):
            parse_operation(name)
    with pytest.raises(ValueError, match=r"dropped must be in 1\.\.13 for a shift, not 14"):
        parse_operation("shift_14")


def test_operations_wrong() -> None:
    with pytest.raises(TypeError, match="kind must be a Kind, not 'shift'"):
        Operation(kind="shift")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dropped must be an integer, not True"):
        Operation(kind=Kind.SHIFT, dropped=True)
    with pytest.raises(ValueError, match="dropped must be 0 for distance, not 2"):
        Operation(kind=Kind.DISTANCE, dropped=2)
    with pytest.raises(ValueError, match="not 0: a shift that drops nothing is a multiplication"):
        shift(0)


@pytest.mark.parametrize(
    ("operation", "fmt", "message"),
    [
        (DISTANCE, Sp2(bits=4), "a distance needs signed fixed-point weights .*, not sp2_4"),
        (DISTANCE, Fixed(bits=8, signed=False), "not ufixed8"),
        (DISTANCE, Fixed(bits=1), "at least 2 bits"),
        (shift(2), Fixed(bits=8), "a shift needs weights that are powers of two, not fixed8"),
        (shift(7), Pot(bits=4), "cannot drop 7 bits of pot_4, whose greatest weight is 64"),
    ],
)
def test_formats_wrong(operation: Operation, fmt: Format, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        operation.check_format(fmt)


def test_the_lowest_code_is_no_weight_of_a_distance() -> None:
    fmt = parse_format("fixed4")
    assert (DISTANCE.idle(fmt), MULTIPLY.idle(fmt)) == (-8, 0)
    DISTANCE.check_weights(fmt, np.array([-7, 7]))
    MULTIPLY.check_weights(fmt, np.array([-8]))
    with pytest.raises(ValueError, match="cannot have the weight -8 of fixed4, which stands for"):
        DISTANCE.check_weights(fmt, np.array([0, -8]))

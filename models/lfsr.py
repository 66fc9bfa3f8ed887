"""The one random generator that training, the golden model and hardware draw precisions from.

A linear feedback shift register of 16 bits, x^16 + x^14 + x^13 + x^11 + 1: it shifts right, and
what comes in at the top is the exclusive or of bits 0, 2, 3 and 5. Its period is 65,535; the
state is never 0. A draw first shifts 16 times, so that neighbouring draws share no bit, and then
scales the state to the number of choices by its upper product bits.
"""

from __future__ import annotations

import numpy as np

BITS = 16
TAPS = (0, 2, 3, 5)
PERIOD = (1 << BITS) - 1


def advance(state: int, shifts: int = BITS) -> int:
    """Return the state after ``shifts`` shifts; ``ValueError`` if it is not in 1..65535."""
    if not 1 <= state <= PERIOD:
        raise ValueError(f"state must be in 1..{PERIOD}, not {state!r}")
    for _ in range(shifts):
        fed = 0
        for tap in TAPS:
            fed ^= state >> tap & 1
        state = state >> 1 | fed << BITS - 1
    return state


def draws(seed: int, count: int, choices: int) -> np.ndarray:
    """Return ``count`` numbers of 0 to ``choices - 1``, int64.

    Parameters
    ----------
    seed
        The state before the first draw, 1..65535.
    count
        How many, at least 0.
    choices
        1..65535. Over a whole period each is drawn equally often, to within 1.

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    if count < 0 or not 1 <= choices <= PERIOD:
        raise ValueError(
            f"count must not be negative and choices in 1..{PERIOD}, not {count!r} and {choices!r}"
        )
    state = advance(seed, 0)
    numbers = np.empty(count, dtype=np.int64)
    for index in range(count):
        state = advance(state)
        numbers[index] = state * choices >> BITS
    return numbers

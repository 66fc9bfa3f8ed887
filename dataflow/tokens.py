"""From dependencies to token masks.

Every unit runs its descriptors in order, so of what a descriptor needs of another
unit only the last counts, and only if nothing before it in its own unit waited for
as late a one: each wait takes the one token of the descriptor it waits for.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence

import numpy as np

from celosia.dataflow.descriptors import (
    NO_TOKENS,
    Descriptor,
    End,
    Token,
    Unit,
    unit_of,
    with_tokens,
)
from celosia.dataflow.microarchitecture import TOKEN_COUNTER_BITS
from celosia.dataflow.table import Column

MAX_TOKENS = (1 << TOKEN_COUNTER_BITS) - 1
"""What a token counter holds."""

_TOKENS = {(token.giver.value, token.taker.value): token.value for token in Token}
_TAKERS = tuple(token.taker.value for token in Token)
_NAMES = {unit.value: unit.name for unit in Unit}
_UNITS = range(len(Unit))


def assign_tokens(
    descriptors: Sequence[Descriptor], needs: Sequence[frozenset[int]]
) -> tuple[Descriptor, ...]:
    """Return ``descriptors`` with their wait and signal masks.

    Parameters
    ----------
    descriptors
        In program order, with empty masks.
    needs
        For each, the indices of the descriptors that must be done before it begins.
        Those of its own unit need no token.

    Raises
    ------
    ValueError
        If a need does not lie before its descriptor, no token joins the two units, or a
        counter could exceed ``MAX_TOKENS``.
    """
    units = [unit_of(descriptor).value for descriptor in descriptors]
    waits: list[list[int]] = [[] for _ in descriptors]
    signals: list[list[int]] = [[] for _ in descriptors]
    newest = [-1] * len(Token)
    for index, needed in enumerate(needs):
        last = [-1] * len(Unit)
        for need in needed:
            if need >= index:
                raise ValueError(f"descriptor {index} needs {need}, which does not lie before it")
            if need > last[units[need]]:
                last[units[need]] = need
        for giver, need in enumerate(last):
            if need < 0 or giver == units[index]:
                continue
            if (giver, units[index]) not in _TOKENS:
                raise ValueError(f"no token from {_NAMES[giver]} to {_NAMES[units[index]]}")
            token = _TOKENS[giver, units[index]]
            if need > newest[token]:
                newest[token] = need
                waits[index].append(token)
                signals[need].append(token)
    _check_most(_most_tokens(units, waits, signals))
    masks: dict[tuple[int, ...], frozenset[Token]] = {(): NO_TOKENS}

    def mask(tokens: list[int]) -> frozenset[Token]:
        key = tuple(tokens)
        if key not in masks:
            masks[key] = frozenset(map(Token, tokens))
        return masks[key]

    return tuple(
        with_tokens(descriptor, mask(wait), mask(signal)) if wait or signal else descriptor
        for descriptor, wait, signal in zip(descriptors, waits, signals, strict=True)
    )


def _check_most(most: Sequence[int]) -> None:
    for token, count in enumerate(most):
        if count > MAX_TOKENS:
            raise ValueError(f"token {Token(token).name} could count to {count}")


def check_table(table: np.ndarray) -> None:
    """Raise ``ValueError`` if a counter could exceed ``MAX_TOKENS``.

    ``table`` is a program's, see :func:`celosia.dataflow.table.tabulate`.
    """
    units = np.minimum(table[:, Column.KIND], Unit.STORE.value).tolist()
    known = [[token for token in Token if mask >> token & 1] for mask in range(1 << len(Token))]
    waits, signals = (
        [known[mask] for mask in table[:, column].tolist()]
        for column in (Column.WAIT, Column.SIGNAL)
    )
    _check_most(_most_tokens(units, waits, signals))


def most_tokens(descriptors: Sequence[Descriptor]) -> dict[Token, int]:
    """Return the most that each counter can reach in any legal order of execution."""
    units = [unit_of(descriptor).value for descriptor in descriptors]
    signals = [d.signal if not isinstance(d, End) else NO_TOKENS for d in descriptors]
    most = _most_tokens(units, [descriptor.wait for descriptor in descriptors], signals)
    return {token: most[token] for token in Token}


def _most_tokens(
    units: Sequence[int], waits: Sequence[Iterable[int]], signals: Sequence[Iterable[int]]
) -> list[int]:
    """Return, for each token, how far its giver can be ahead of its taker.

    ``before[unit]`` holds, for each unit, how many of its descriptors have certainly
    begun when the last one of ``unit`` that was seen is done.
    """
    before = [[0] * len(Unit) for _ in _UNITS]
    given: list[list[list[int]]] = [[] for _ in Token]
    taken: list[list[int]] = [[] for _ in Token]
    begun = [0] * len(Unit)
    signalled: list[tuple[int, int, int]] = []
    for unit, wait, signal in zip(units, waits, signals, strict=True):
        clock = before[unit]
        begun[unit] += 1
        clock[unit] = begun[unit]
        for token in wait:
            other = given[token][len(taken[token])]
            taken[token].append(begun[unit])
            for key in _UNITS:
                if other[key] > clock[key]:
                    clock[key] = other[key]
        for token in signal:
            given[token].append(clock.copy())
            signalled.append((token, len(given[token]), clock[_TAKERS[token]]))
    most = [0] * len(Token)
    for token, count, taker_begun in signalled:
        done = bisect.bisect_right(taken[token], taker_begun)
        most[token] = max(most[token], count - done)
    return most

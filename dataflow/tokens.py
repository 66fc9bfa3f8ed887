"""From dependencies to token masks.

Every unit runs its descriptors in order, so of what a descriptor needs of another
unit only the last counts, and only if nothing before it in its own unit waited for
as late a one: each wait takes the one token of the descriptor it waits for.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import replace

from celosia.dataflow.descriptors import Descriptor, End, Token, Unit, unit_of
from celosia.dataflow.microarchitecture import TOKEN_COUNTER_BITS

MAX_TOKENS = (1 << TOKEN_COUNTER_BITS) - 1
"""What a token counter holds."""

_TOKENS = {(token.giver, token.taker): token for token in Token}
_UNITS = tuple(Unit)


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
    units = [unit_of(descriptor) for descriptor in descriptors]
    waits: list[set[Token]] = [set() for _ in descriptors]
    signals: list[set[Token]] = [set() for _ in descriptors]
    newest: dict[Token, int] = {}
    for index, needed in enumerate(needs):
        last: dict[Unit, int] = {}
        for need in needed:
            if need >= index:
                raise ValueError(f"descriptor {index} needs {need}, which does not lie before it")
            last[units[need]] = max(last.get(units[need], -1), need)
        for giver, need in last.items():
            if giver is units[index]:
                continue
            if (giver, units[index]) not in _TOKENS:
                raise ValueError(f"no token from {giver.name} to {units[index].name}")
            token = _TOKENS[giver, units[index]]
            if need > newest.get(token, -1):
                newest[token] = need
                waits[index].add(token)
                signals[need].add(token)
    most = _most_tokens(units, waits, signals)
    for token, count in most.items():
        if count > MAX_TOKENS:
            raise ValueError(f"token {token.name} could count to {count}")
    return tuple(
        _masked(descriptor, wait, signal)
        for descriptor, wait, signal in zip(descriptors, waits, signals, strict=True)
    )


def _masked(descriptor: Descriptor, wait: set[Token], signal: set[Token]) -> Descriptor:
    if isinstance(descriptor, End):
        return replace(descriptor, wait=frozenset(wait))
    return replace(descriptor, wait=frozenset(wait), signal=frozenset(signal))


def most_tokens(descriptors: Sequence[Descriptor]) -> dict[Token, int]:
    """Return the most that each counter can reach in any legal order of execution."""
    waits = [set(descriptor.wait) for descriptor in descriptors]
    signals = [
        set() if isinstance(descriptor, End) else set(descriptor.signal)
        for descriptor in descriptors
    ]
    return _most_tokens([unit_of(descriptor) for descriptor in descriptors], waits, signals)


def _most_tokens(
    units: Sequence[Unit], waits: Sequence[set[Token]], signals: Sequence[set[Token]]
) -> dict[Token, int]:
    """Return how far each giver can be ahead of its taker.

    ``before[unit]`` holds, for each unit, how many of its descriptors have certainly
    begun when the last one of ``unit`` that was seen is done.
    """
    before = {unit: dict.fromkeys(_UNITS, 0) for unit in _UNITS}
    given: dict[Token, list[dict[Unit, int]]] = {token: [] for token in Token}
    taken: dict[Token, list[int]] = {token: [] for token in Token}
    most = dict.fromkeys(Token, 0)
    begun = dict.fromkeys(_UNITS, 0)
    signalled: list[tuple[Token, int, int]] = []
    for unit, wait, signal in zip(units, waits, signals, strict=True):
        clock = before[unit]
        begun[unit] += 1
        clock[unit] = begun[unit]
        for token in wait:
            other = given[token][len(taken[token])]
            taken[token].append(begun[unit])
            for key, value in other.items():
                clock[key] = max(clock[key], value)
        for token in signal:
            given[token].append(dict(clock))
            signalled.append((token, len(given[token]), clock[token.taker]))
    for token, count, taker_begun in signalled:
        done = bisect.bisect_right(taken[token], taker_begun)
        most[token] = max(most[token], count - done)
    return most

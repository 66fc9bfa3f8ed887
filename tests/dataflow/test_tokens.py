from __future__ import annotations

import pytest

from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    Descriptor,
    End,
    Load,
    Loop,
    Stamp,
    Store,
    Token,
    Transfer,
    Unit,
    unit_of,
)
from celosia.dataflow.tokens import assign_tokens, most_tokens

MOVE = Transfer(address=0, buffer_address=0, words=1)
LOAD = Load(target=Buffer.WEIGHTS, transfer=MOVE)
LOOP = Loop(count=1, activations=0, weights=0, accumulators=0, reduction=False)
COMPUTE = Compute(loops=(LOOP,), activations=0, weights=0, accumulators=0, activations_signed=False)


def needs(*sets: set[int]) -> list[frozenset[int]]:
    return [frozenset(needed) for needed in sets]


def test_units() -> None:
    units = [unit_of(d) for d in (LOAD, COMPUTE, Store(transfer=MOVE), Stamp(address=0), End())]
    assert units == [Unit.LOAD, Unit.COMPUTE, Unit.STORE, Unit.STORE, Unit.STORE]


def test_only_the_last_need_takes_a_token() -> None:
    order: list[Descriptor] = [LOAD, LOAD, COMPUTE, LOAD, COMPUTE, COMPUTE]
    done = assign_tokens(order, needs(set(), set(), {0, 1}, {2}, {0}, {1, 3, 4}))
    masks = [(sorted(d.wait), sorted(d.signal)) for d in done if not isinstance(d, End)]
    ready, free = Token.LOAD_COMPUTE, Token.COMPUTE_LOAD
    assert masks == [
        ([], []),
        ([], [ready]),
        ([ready], [free]),
        ([free], [ready]),
        ([], []),
        ([ready], []),
    ]


def test_most_tokens_counts_what_may_wait() -> None:
    order: list[Descriptor] = [LOAD] * 5 + [COMPUTE] * 5
    ahead = assign_tokens(order, needs(*[set()] * 5, {0}, {1}, {2}, {3}, {4}))
    assert most_tokens(ahead)[Token.LOAD_COMPUTE] == 5
    turns: list[Descriptor] = [LOAD, COMPUTE] * 5
    strict = [{i - 1} if i else set() for i in range(10)]
    assert most_tokens(assign_tokens(turns, needs(*strict)))[Token.LOAD_COMPUTE] == 1


def test_overflow_wrong() -> None:
    order: list[Descriptor] = [LOAD] * 256 + [COMPUTE] * 256
    sets = [set[int]()] * 256 + [{i} for i in range(256)]
    with pytest.raises(ValueError, match="token LOAD_COMPUTE could count to 256"):
        assign_tokens(order, needs(*sets))


def test_need_of_a_later_one_wrong() -> None:
    with pytest.raises(ValueError, match="descriptor 0 needs 1, which does not lie before it"):
        assign_tokens([LOAD, COMPUTE], needs({1}, set()))


def test_units_without_token_wrong() -> None:
    with pytest.raises(ValueError, match="no token from COMPUTE to STORE"):
        assign_tokens([COMPUTE, Store(transfer=MOVE)], needs(set(), {0}))

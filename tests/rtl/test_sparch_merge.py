# amaranth: UnusedElaboratable=no
"""The comparator arrays: proved for small widths, run on random streams for all."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal, Value

from celosia.rtl.sparch import merge
from celosia.rtl.sparch.merge import MergeArray, TakeArray, comparators

from .compiled import Compiled, Part, packed
from .prover import prove

SHAPES = [
    (2, 2),
    (2, 1),
    (4, 4),
    (4, 2),
    (4, 1),
    (8, 8),
    (8, 4),
    (8, 2),
    (16, 16),
    (16, 4),
    (16, 2),
]
SEED = 7


def array_of(ways, chunk, key_bits=3, value_bits=1):
    return MergeArray(ways=ways, chunk=chunk, key_bits=key_bits, value_bits=value_bits)


def sorted_windows(m, array, takes, ways):
    """Assume that both windows rise, and what came before them was lower.

    Return what is meant of each as (meant, element), how many are, and whether an element of ``a``
    waits: it was the last, with the first key of ``b``.
    """
    sides, counts, held = [], [], Signal()
    for side in "ab":
        window, count = getattr(array, side), Signal(range(ways + 1), name=f"count_{side}")
        slots = [(count > i, window[i]) for i in range(ways)]
        there = Cat(meant for meant, _ in slots)
        m.d.comb += [
            Assume(count <= ways),
            getattr(array, f"{side}_there").eq(there),
            getattr(takes, f"{side}_there").eq(there),
            getattr(takes, side).eq(Cat(window[i].key for i in range(ways))),
        ]
        for (_, one), (meant, other) in itertools.pairwise(slots):
            m.d.comb += Assume(~meant | (one.key < other.key))
        sides.append(slots)
        counts.append(count)
    a, b = sides
    m.d.comb += Assume(~held | (b[0][0] & (~a[0][0] | (b[0][1].key < a[0][1].key))))
    for side, own, others, count in (("a", a, b, counts[0]), ("b", b, a, counts[1])):
        last, known = getattr(takes, f"{side}_last"), getattr(takes, f"{side}_known")
        shown = Value.cast(own[0][1].key)
        for meant, element in own[1:]:
            shown = Mux(meant, element.key, shown)
        before = last == others[0][1].key if side == "a" else 0
        m.d.comb += [
            Assume((count == 0) | (known & Mux(count == ways, last >= shown, last == shown))),
            # All has been taken: what the other shows is higher, or has waited for it.
            Assume(
                (count != 0)
                | ~others[0][0]
                | (
                    Mux(held, known & before, ~known | (last < others[0][1].key))
                    if side == "a"
                    else ~known | (last < others[0][1].key)
                )
            ),
        ]
    return sides, counts, held


def merge_proof(array, ways):
    """Assert that outputs and counts are those of the rank formula and of what is safe."""
    m = Module()
    m.submodules.array, m.submodules.takes = array, takes = array, TakeArray(ways=ways, key_bits=3)
    (a, b), (a_count, b_count), held = sorted_windows(m, array, takes, ways)
    safe_a, safe_b, equal_before = [], [], []
    for own, others, closed, first, is_a in (
        (a, b, takes.b_closed, 0, True),
        (b, a, takes.a_closed, held, False),
    ):
        for i, (meant, element) in enumerate(own):
            lower = [
                there & ((other.key < element.key) if is_a else (other.key <= element.key))
                for there, other in others
            ]
            rank = Signal(range(2 * ways + 1), name=f"rank_{is_a}_{i}")
            shown = Cat(there & (other.key >= element.key) for there, other in others).any()
            safe = Signal(name=f"is_safe_{is_a}_{i}")
            m.d.comb += [
                rank.eq(i + sum(lower[1:], lower[0])),
                safe.eq(meant & (rank < ways) & (closed | shown | (first if i == 0 else 0))),
            ]
            (safe_a if is_a else safe_b).append(safe)
            twin = Cat(there & (other.key == element.key) for there, other in others).any()
            raw, was = Value.cast(element), Signal(len(Value.cast(element)), name=f"was_{is_a}_{i}")
            m.d.sync += was.eq(raw)
            for t in range(ways):
                here = Signal(name=f"here_{is_a}_{i}_{t}")  # in the cycle before
                m.d.sync += here.eq(safe & (rank == t))
                m.d.comb += Assert(~here | (Value.cast(array.o[t]) == was))
                if is_a and t == ways - 1:
                    equal_before.append(safe & (rank == t) & twin)
    total = a_count + b_count
    taken = [Signal(range(ways + 1), name=f"taken_{side}") for side in "ab"]
    for count, flags, safe in (
        (taken[0], takes.a_taken, safe_a),
        (taken[1], takes.b_taken, safe_b),
    ):
        m.d.comb += [
            count.eq(sum(safe[1:], safe[0])),
            Assert(flags == Cat(count > i for i in range(ways))),
        ]
    m.d.comb += [
        Assert(takes.holds == Cat(equal_before).any()),
        # Whole windows, or all that is left: as many as can be.
        Assert(
            ~((takes.a_closed | (a_count == ways)) & (takes.b_closed | (b_count == ways)))
            | (taken[0] + taken[1] == Mux(total > ways, ways, total))
        ),
    ]
    inputs = [array.a, array.b, a_count, b_count, takes.a_closed, takes.b_closed, held]
    inputs += [takes.a_last, takes.b_last, takes.a_known, takes.b_known]
    return m, [Value.cast(each) for each in inputs]


@pytest.mark.parametrize(("ways", "chunk"), [(2, 2), (2, 1), (4, 4), (4, 2), (4, 1)])
def test_outputs_are_those_of_the_rank_formula(ways, chunk, tmp_path):
    m, inputs = merge_proof(array_of(ways, chunk), ways)
    prove(m, inputs, tmp_path, steps=2)


def not_later(one, other):
    """Of equal keys b's come first: wrong."""
    return one.meant & (~other.meant | (one.element.key <= other.element.key))


def meant_or_not(one, other):
    """What is not meant is compared all the same: wrong."""
    return one.element.key < other.element.key


@pytest.mark.parametrize("broken", [not_later, meant_or_not])
@pytest.mark.parametrize(("ways", "chunk"), [(2, 2), (4, 2)])
def test_wrong_comparators_are_found_out(ways, chunk, broken, tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "smaller", broken)
    m, inputs = merge_proof(array_of(ways, chunk), ways)
    with pytest.raises(AssertionError, match="proof did fail"):
        prove(m, inputs, tmp_path, steps=2)


LONGEST = 5


def stream_proof(ways, longest, lost=0):
    """Assert that streams of n and m elements leave in ceil((n + m) / ways) cycles, no more."""
    m = Module()
    m.submodules.dut = dut = TakeArray(ways=ways, key_bits=3)
    begun = Signal()
    m.d.sync += begun.eq(1)
    inputs, left = [], []
    for side in "ab":
        given = Signal(3 * longest, name=f"given_{side}")
        length = Signal(range(longest + 1), name=f"length_{side}")
        held, rest = Signal.like(given, name=f"held_{side}"), Signal.like(length)
        keys, count = Signal.like(given), Signal.like(length)
        flags, taken = getattr(dut, f"{side}_taken"), Signal(range(ways + 1), name=f"taken_{side}")
        m.d.comb += [
            Assume(length <= longest),
            keys.eq(Mux(begun, held, given)),
            count.eq(Mux(begun, rest, length)),
            getattr(dut, f"{side}_there").eq(Cat(count > i for i in range(ways))),
            getattr(dut, f"{side}_closed").eq(1),
            getattr(dut, side).eq(keys),
            taken.eq(sum(flags[1:], flags[0])),
            *(
                Assume(given.word_select(i, 3) <= given.word_select(i + 1, 3))
                for i in range(longest - 1)
            ),
        ]
        m.d.sync += [held.eq(keys >> (3 * taken)), rest.eq(count - taken)]
        inputs += [given, length]
        left.append(count)
    cycles, due = Signal(8), Signal(8)
    now = Signal(8)
    m.d.comb += now.eq(Mux(begun, due, (left[0] + left[1] + (ways - 1 - lost)) // ways))
    m.d.sync += [due.eq(now), cycles.eq(cycles + 1)]
    m.d.comb += Assert(((left[0] + left[1]) != 0) == (cycles < now))
    return m, inputs


@pytest.mark.parametrize("ways", [2, 4])
def test_streams_leave_in_the_cycles_that_they_must(ways, tmp_path):
    m, inputs = stream_proof(ways, LONGEST)
    prove(m, inputs, tmp_path, steps=2 * LONGEST // ways + 2)


def test_another_number_of_cycles_is_found_out(tmp_path):
    m, inputs = stream_proof(2, LONGEST, lost=1)
    with pytest.raises(AssertionError):
        prove(m, inputs, tmp_path, steps=2 * LONGEST // 2 + 2)


def merged(one, other, ways):
    """Return what a cycle of the array does with lists of (key, value): outputs, taken of each."""
    window = [(key, 0, value) for key, value in one[:ways]]
    window += [(key, 1, value) for key, value in other[:ways]]
    first = sorted(window, key=lambda each: each[:2])[:ways]
    taken = sum(side == 0 for _, side, _ in first)
    return [(key, value) for key, _, value in first], taken, len(first) - taken


def streams(rng, key_bits, ways):
    """Yield pairs of sorted streams: empty, one-sided, all equal, highest keys, anything."""
    top = 2**key_bits - 1
    for case in range(60):
        lengths = [rng.randint(0, 6 * ways) for _ in range(2)]
        if case % 6 == 0:
            lengths[rng.randrange(2)] = 0
        low = {1: top, 2: top - 3, 3: 0}.get(case % 6, 0)
        high = {3: 0}.get(case % 6, top)
        yield tuple(
            sorted((rng.randint(low, high), rng.getrandbits(8)) for _ in range(length))
            for length in lengths
        )


KEY_BITS = 9
WIDTH = KEY_BITS + 8


def cycles_of(rng, ways):
    """Return the windows of each cycle of random streams, and what comes out of each."""
    windows, expected = [], []
    for one, other in streams(rng, KEY_BITS, ways):
        total, cycles = len(one) + len(other), 0
        while one or other:
            outputs, of_a, of_b = merged(one, other, ways)
            windows.append((one[:ways], other[:ways]))
            expected.append((outputs, of_a, of_b))
            one, other, cycles = one[of_a:], other[of_b:], cycles + 1
        assert cycles == -(-total // ways)
    return windows, expected


def test_random_streams():
    """Every stream leaves in order, a's first of equal keys, and in ceil((n + m) / N) cycles."""
    parts, given, expected = [], {}, {}
    rng, most = random.Random(SEED), 0
    for ways, chunk in SHAPES:
        name = f"n{ways}_{chunk}_"
        parts.append(
            Part.of(
                array_of(ways, chunk, key_bits=KEY_BITS, value_bits=8), inputs=name, outputs=name
            )
        )
        windows, expected[ways, chunk] = cycles_of(rng, ways)
        for side, own in zip("ab", zip(*windows, strict=True), strict=True):
            codes = np.array([[rng.getrandbits(WIDTH) for _ in range(ways)] for _ in own])
            for row, window in zip(codes, own, strict=True):
                row[: len(window)] = [value | key << 8 for key, value in window]
            given[f"{name}{side}"] = packed(codes, WIDTH)
            there = np.array([[(1 << len(window)) - 1] for window in own], "<u2")
            given[f"{name}{side}_there"] = there.view(np.uint8)[:, : -(-ways // 8)]
        most = max(most, len(windows) + 1)
    given = {name: np.pad(rows, ((0, most - len(rows)), (0, 0))) for name, rows in given.items()}
    got = Compiled(parts).play(given)
    for (ways, chunk), cycles in expected.items():
        assert len(cycles) > 100
        name = f"n{ways}_{chunk}_"
        for number, (outputs, _, _) in enumerate(cycles, start=1):
            word = int.from_bytes(got[f"{name}o"][number].tobytes(), "little")
            elements = [word >> WIDTH * t & (1 << WIDTH) - 1 for t in range(len(outputs))]
            assert elements == [value | key << 8 for key, value in outputs], (name, number)


@pytest.mark.parametrize(("ways", "chunk"), SHAPES)
def test_comparators_are_as_many_as_said(ways, chunk):
    text = rtlil.convert(array_of(ways, chunk), emit_src=False)
    assert text.count("cell $lt ") == comparators(ways, chunk)


def test_hierarchical_arrays_have_half_the_comparators():
    """Of the flat array as built, which leaves out what no output needs, and of N x N."""
    assert comparators(16, 16) == 136
    for chunk in (2, 4):
        assert 2 * comparators(16, chunk) <= comparators(16, 16) < 16 * 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ways": 3, "chunk": 1}, "ways must be 2, 4, 8 or 16, not 3"),
        ({"ways": 32, "chunk": 4}, "ways must be 2, 4, 8 or 16, not 32"),
        ({"ways": 4, "chunk": 3}, r"chunk must divide ways \(4\), not 3"),
        ({"ways": 4, "chunk": 0}, r"chunk must divide ways \(4\), not 0"),
        ({"ways": 4, "chunk": 8}, r"chunk must divide ways \(4\), not 8"),
    ],
)
def test_wrong_shapes(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        MergeArray(**arguments, key_bits=4, value_bits=4)


def test_wrong_windows():
    with pytest.raises(ValueError, match=r"^ways must be 2, 4, 8 or 16, not 3$"):
        TakeArray(ways=3, key_bits=4)

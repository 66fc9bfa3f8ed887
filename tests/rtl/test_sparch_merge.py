# amaranth: UnusedElaboratable=no
"""The comparator array: proved for small widths, run on random streams for all."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal

from celosia.rtl.sparch import merge
from celosia.rtl.sparch.merge import MergeArray, comparators

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


def sorted_windows(m, dut, *, strict):
    """Assume that both windows rise; return what is meant of each as (meant, element)."""
    sides = []
    for window, count in ((dut.a, dut.a_count), (dut.b, dut.b_count)):
        slots = [(count > i, window[i]) for i in range(len(window))]
        m.d.comb += Assume(count <= len(window))
        for (_, one), (meant, other) in itertools.pairwise(slots):
            rises = one.key < other.key if strict else one.key <= other.key
            m.d.comb += Assume(~meant | rises)
        sides.append(slots)
    return sides


def merge_proof(dut, ways):
    """Assert that outputs and counts are those of the rank formula and of what is safe."""
    m = Module()
    m.submodules.dut = dut
    a, b = sorted_windows(m, dut, strict=True)
    # A held element has the key with which b begins, and a has none as low.
    m.d.comb += Assume(~dut.held | (b[0][0] & (~a[0][0] | (b[0][1].key < a[0][1].key))))
    safe_a, safe_b, equal_before = [], [], []
    for own, others, closed, first, is_a in (
        (a, b, dut.b_closed, 0, True),
        (b, a, dut.a_closed, dut.held, False),
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
            for t in range(ways):
                here = safe & (rank == t)
                m.d.comb += Assert(
                    ~here | ((dut.o[t].key == element.key) & (dut.o[t].value == element.value))
                )
                if not is_a:
                    paired = twin | (dut.held if i == 0 else 0)
                    m.d.comb += Assert(~here | (dut.pairs[t] == paired))
                elif t == ways - 1:
                    equal_before.append(here & twin)
                else:
                    m.d.comb += Assert(~here | ~dut.pairs[t])
    m.d.comb += [
        Assert(dut.a_taken == sum(safe_a[1:], safe_a[0])),
        Assert(dut.b_taken == sum(safe_b[1:], safe_b[0])),
        Assert(dut.count == dut.a_taken + dut.b_taken),
        Assert(dut.holds == Cat(equal_before).any()),
        # Whole windows, or all that is left: as many as can be.
        Assert(
            ~((dut.a_closed | (dut.a_count == ways)) & (dut.b_closed | (dut.b_count == ways)))
            | (dut.count == Mux(dut.a_count + dut.b_count > ways, ways, dut.a_count + dut.b_count))
        ),
    ]
    inputs = [dut.a, dut.b, dut.a_count, dut.b_count, dut.a_closed, dut.b_closed, dut.held]
    return m, [getattr(each, "as_value", lambda each=each: each)() for each in inputs]


@pytest.mark.parametrize(("ways", "chunk"), [(2, 2), (2, 1), (4, 4), (4, 2), (4, 1)])
def test_outputs_are_those_of_the_rank_formula(ways, chunk, tmp_path):
    m, inputs = merge_proof(array_of(ways, chunk), ways)
    prove(m, inputs, tmp_path)


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
    with pytest.raises(AssertionError, match=r"Assert failed|assert"):
        prove(m, inputs, tmp_path)


LONGEST = 5


def stream_proof(ways, chunk, longest, lost=0):
    """Assert that streams of n and m elements leave in ceil((n + m) / ways) cycles, no more."""
    m = Module()
    m.submodules.dut = dut = array_of(ways, chunk, key_bits=3)
    begun = Signal()
    m.d.sync += begun.eq(1)
    inputs, left = [], []
    for side in "ab":
        given = Signal(3 * longest, name=f"given_{side}")
        length = Signal(range(longest + 1), name=f"length_{side}")
        held, rest = Signal.like(given, name=f"held_{side}"), Signal.like(length)
        keys, count = Signal.like(given), Signal.like(length)
        window, shown = getattr(dut, side), getattr(dut, f"{side}_count")
        taken = getattr(dut, f"{side}_taken")
        m.d.comb += [
            Assume(length <= longest),
            keys.eq(Mux(begun, held, given)),
            count.eq(Mux(begun, rest, length)),
            shown.eq(Mux(count > ways, ways, count)),
            getattr(dut, f"{side}_closed").eq(1),
            *(window[i].key.eq(keys.word_select(i, 3)) for i in range(min(ways, longest))),
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


@pytest.mark.parametrize(("ways", "chunk"), [(2, 2), (2, 1), (4, 2)])
def test_streams_leave_in_the_cycles_that_they_must(ways, chunk, tmp_path):
    m, inputs = stream_proof(ways, chunk, LONGEST)
    prove(m, inputs, tmp_path, steps=2 * LONGEST // ways + 2)


def test_another_number_of_cycles_is_found_out(tmp_path):
    m, inputs = stream_proof(2, 1, LONGEST, lost=1)
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
            given[f"{name}{side}_count"] = np.array([[len(window)] for window in own], np.uint8)
            given[f"{name}{side}_closed"] = np.ones((len(own), 1), np.uint8)
        given[f"{name}held"] = np.zeros((len(windows), 1), np.uint8)
        most = max(most, len(windows))
    given = {name: np.pad(rows, ((0, most - len(rows)), (0, 0))) for name, rows in given.items()}
    got = Compiled(parts).play(given)
    for (ways, chunk), cycles in expected.items():
        assert len(cycles) > 100
        name = f"n{ways}_{chunk}_"
        for number, (outputs, of_a, of_b) in enumerate(cycles):
            word = int.from_bytes(got[f"{name}o"][number].tobytes(), "little")
            elements = [word >> WIDTH * t & (1 << WIDTH) - 1 for t in range(len(outputs))]
            assert elements == [value | key << 8 for key, value in outputs], (name, number)
            counts = [int(got[f"{name}{n}"][number, 0]) for n in ("count", "a_taken", "b_taken")]
            assert counts == [len(outputs), of_a, of_b]


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

# amaranth: UnusedElaboratable=no
"""Every rule of a legal descriptor, kept and broken."""

from __future__ import annotations

from typing import Any

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.array_shape import Circuit, Depthwise
from celosia.dataflow.descriptors import (
    COMPUTE_LOOPS,
    Compute,
    End,
    Keep,
    Loop,
    Sliding,
    Stamp,
    Token,
    Transfer,
    Unit,
)
from celosia.dataflow.precision import Precision, passes
from celosia.rtl.descriptors import DESCRIPTOR_BITS, POST_COUNTS, SLIDING, TRANSFER, encode
from celosia.rtl.legality import LAYOUT_OF, LegalityCheck, Rules, layout_of

from .test_shell import a_compute, a_load, a_post, a_store

KEPT = Transfer(address=65535, buffer_address=9, words=3, n1=2, s1=65535)
BUS = Bus(data_bits=128, address_bits=40)

KINDS = {
    "load": (Unit.LOAD, lambda **masks: a_load(**masks)),
    "compute": (Unit.COMPUTE, lambda **masks: a_compute(**masks)),
    "post": (Unit.POST, lambda **masks: a_post(**masks)),
    "store": (Unit.STORE, lambda **masks: a_store(**masks)),
    "keep": (Unit.STORE, lambda **masks: Keep(transfer=KEPT, lane=3, **masks)),
    "stamp": (Unit.STORE, lambda **masks: Stamp(address=0x40, **masks)),
    "end": (Unit.STORE, lambda **masks: End(**masks)),
}


def verdicts(
    descriptors: list[int],
    circuit: Circuit | None = None,
    *,
    keeps: bool = True,
    windows: Depthwise | None = None,
) -> list[bool]:
    dut = LegalityCheck(
        Rules(bus=BUS, scalable=circuit, keeps=keeps, windows=windows, lanes=(0, 4, 8))
    )
    found = []

    async def bench(ctx):
        for descriptor in descriptors:
            ctx.set(dut.descriptor, descriptor)
            await ctx.delay(1e-9)
            found.append(bool(ctx.get(dut.legal)))

    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()
    return found


def changed(unit: Unit, descriptor: int, path: tuple, value: int, *, sliding: bool = False) -> int:
    """``descriptor`` with the field at ``path`` set to ``value``."""
    shape: Any = layout_of(unit, sliding=sliding)
    offset = 0
    for key in path:
        member = shape[key]
        shape, offset = member.shape, offset + member.offset
    width = shape.size if isinstance(shape, data.Layout) else _width(shape)
    mask = (1 << width) - 1
    return descriptor & ~(mask << offset) | (value & mask) << offset


def _width(shape) -> int:
    return shape if isinstance(shape, int) else shape.width


@pytest.mark.parametrize("kind", KINDS)
def test_tokens(kind):
    unit, make = KINDS[kind]
    cases, expected = [], []
    for token in Token:
        cases.append(encode(make(wait=frozenset({token}))))
        expected.append(token.taker is unit)
        cases.append(encode(make()) | 1 << 4 + len(Token) + token)
        expected.append(token.giver is unit and kind != "end")
    assert verdicts(cases) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_bits_that_must_be_0(kind):
    unit, make = KINDS[kind]
    good = encode(make())
    outside = [*range(26, 32), LAYOUT_OF[unit].size, DESCRIPTOR_BITS - 1]
    assert verdicts([good, *(good | 1 << bit for bit in outside)]) == [True] + [False] * 8


@pytest.mark.parametrize("kind", KINDS)
def test_counts(kind):
    unit, make = KINDS[kind]
    good = encode(make())
    match kind:
        case "compute":
            paths = [("loops", index, "count") for index in range(COMPUTE_LOOPS)]
        case "post":
            paths = [(name,) for name in POST_COUNTS]
        case _:
            paths = [(name,) for name in ("words", "n1", "n2", "n3")]
    expected = {"end": (True, False), "stamp": (False, False)}.get(kind, (False, True))
    for value, legal in zip((0, 5), expected, strict=True):
        cases = [changed(unit, good, path, value) for path in paths]
        assert verdicts(cases) == [legal] * len(cases)


@pytest.mark.parametrize("kind", ["load", "store", "stamp"])
def test_addresses(kind):
    unit, make = KINDS[kind]
    good = encode(make())
    cases = {
        ("address", 0x80_0000_0010): True,
        ("address", 0x80_0000_0008): False,
        ("address", 1 << 40): False,
        ("address", 1 << 63): False,
        ("s1", -16): True,
        ("s1", -8): False,
        ("s2", 1): False,
        ("s3", 24): False,
    }
    changes = [changed(unit, good, (name,), value) for name, value in cases]
    assert verdicts(changes) == list(cases.values())


def test_an_end_is_empty():
    good = encode(End())
    cases = [changed(Unit.STORE, good, (name,), 1) for name in TRANSFER]
    assert verdicts(cases) == [False] * len(cases)


def test_unknown_opcodes():
    good = encode(a_load())
    assert verdicts([good & ~0xF | opcode for opcode in (0, *range(8, 16))]) == [False] * 9


def test_where_nothing_can_be_kept():
    good = encode(a_load())
    kept = encode(KINDS["keep"][1]())
    masks = [1 << 4 + Token.STORE_COMPUTE, 1 << 4 + len(Token) + Token.LOAD_STORE]
    assert verdicts([good, kept, *(good | mask for mask in masks)], keeps=False) == [
        True, False, False, False,
    ]  # fmt: skip
    assert verdicts([good, kept, good | masks[1]]) == [True] * 3


def test_addresses_of_a_keep():
    good = encode(KINDS["keep"][1]())
    cases = [("address", 0xFF_FFFF, True), ("address", 1 << 24, False), ("address", 1 << 63, False)]
    cases += [(f"s{n}", value, value == 1) for n in (1, 2, 3) for value in (1, 1 << 16, -1)]
    changes = [changed(Unit.STORE, good, (name,), value) for name, value, _ in cases]
    assert verdicts(changes) == [legal for _, _, legal in cases]


def scalable(circuit: Circuit, weights: int, activations: int) -> int:
    """A compute of precision-scalable columns: its passes, and a word."""
    precision = Precision(weight_bits=weights, activation_bits=activations, weights_signed=True)
    still = dict.fromkeys(("activations", "weights", "accumulators"), 0)
    return encode(
        Compute(
            loops=(
                Loop(count=passes(circuit, precision), reduction=True, **still),
                Loop(count=3, activations=1, weights=1, accumulators=0, reduction=True),
            ),
            activations=0, weights=0, accumulators=0, activations_signed=True,
            precision=precision,
        )
    )  # fmt: skip


@pytest.mark.parametrize("circuit", [c for c in Circuit if c.scalable], ids=lambda c: c.value)
def test_passes_are_those_of_the_precision(circuit):
    widths = [(1, 1), (3, 5), (4, 16), (9, 2), (16, 16)]
    good = [scalable(circuit, *pair) for pair in widths]
    assert verdicts(good, circuit) == [True] * len(good)
    assert verdicts(good) == [False] * len(good)
    last = good[-1]
    wrong = {
        ("loops", 0, "count"): 65,
        ("loops", 0, "activations"): 1,
        ("loops", 0, "weights"): 1,
        ("loops", 0, "accumulators"): 1,
        ("reduction",): 2,
        ("weight_bits",): 0,
        ("activation_bits",): 17,
    }
    cases = [changed(Unit.COMPUTE, last, path, value) for path, value in wrong.items()]
    assert verdicts([*cases, encode(a_compute())], circuit) == [False] * (len(cases) + 1)


def test_windows_that_slide() -> None:
    line = Loop(count=9, activations=1, weights=0, accumulators=0, reduction=False)
    sliding = Sliding(skip_rows=2, skip_columns=1, row_stride=2, column_stride=16, first_lane=4)
    nest = Compute(
        loops=(line, line), activations=0, weights=0, accumulators=0, activations_signed=True,
        sliding=sliding,
    )  # fmt: skip
    windows = Depthwise(rows=3, columns=3, width=9)
    good = encode(nest)
    cases = {
        ("skip_rows", 3): False, ("skip_columns", 3): False, ("skip_columns", 0): False,
        ("skip_columns", 2): True, ("row_stride", 15): True, ("first_lane", 8): True,
        ("first_lane", 2): False, ("first_lane", 12): False, ("reduction", 1): False,
        ("reduction", 2): False, ("reduction", 4): True, ("loops", 0, "count", 10): False,
        ("loops", 0, "count", 1): False, ("loops", 1, "count", 2): False,
        ("loops", 1, "count", 3): True, ("loops", 0, "accumulators", 1): False,
        ("loops", 1, "accumulators", 1): False, ("loops", 2, "accumulators", 1): True,
        ("sliding", 0): False,
    }  # fmt: skip
    made = [changed(Unit.COMPUTE, good, tuple(path), value, sliding=True) for *path, value in cases]
    assert verdicts([good, *made], windows=windows) == [True, *cases.values()]
    assert verdicts([good]) == [False]
    plain = encode(a_compute())
    made = [changed(Unit.COMPUTE, plain, (name,), 1, sliding=True) for name in SLIDING]
    assert verdicts([plain, *made], windows=windows) == [True] + [False] * len(SLIDING)

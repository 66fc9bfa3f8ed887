# amaranth: UnusedElaboratable=no
"""The elements of recurrent layers, against the golden model; broken copies are found out."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from celosia.dataflow.eie.accelerator import CellUnit as Description
from celosia.dataflow.eie.descriptors import Cell
from celosia.models.lstm import Table
from celosia.models.network import Rounding
from celosia.models.requantise import shift_round
from celosia.rtl.eie import cell
from celosia.rtl.eie.cell import PHASES, CellUnit

from .drivers import simulate

SEED = 735
LANES = 4


def random_tables(rng, segments):
    return [Table(knots=rng.integers(-(1 << 14), 1 << 14, segments + 1)) for _ in range(3)]


def words_of(tables):
    """Return each segment's word: first knot, and step to the next."""
    words = []
    for table in tables:
        steps = np.diff(table.knots)
        words += ((table.knots[:-1] & 0xFFFF) | (steps & 0xFFFF) << 16).tolist()
    return words


def golden(tables, sums, c, step):
    """Return new cell and output, from sums of i, f, g, o."""

    def rounded(value, shift):
        return int(shift_round(np.array(value), np.array(shift), Rounding.HALF_EVEN))

    sigmoid, tanh, cell_tanh = tables
    i, f, o = (int(sigmoid.look_up(np.array(sums[gate]))) for gate in (0, 1, 3))
    total = (f * c << step.cell_shift) + i * int(tanh.look_up(np.array(sums[2])))
    c = max(-32768, min(32767, rounded(total, 14 + step.cell_shift)))
    h = rounded(o * int(cell_tanh.look_up(np.array(c))), step.shift)
    return c, max(step.low, min(step.high, h))


def check_elements(kind, segments=16, elements=150):
    """Elements five cycles apart: each new cell 11, each output 18 cycles after its first read."""
    rng = np.random.default_rng(SEED)
    tables = random_tables(rng, segments)
    words = words_of(tables)
    ends = [-32768, 32767, 0, -1]
    sums = rng.integers(-32768, 32768, (elements, 4)).tolist()
    cells = [
        int(rng.choice([rng.integers(-32768, 32768), rng.choice(ends)])) for _ in range(elements)
    ]
    dut = kind(segments=segments, lanes=LANES)
    for cell_shift, shift, low, high in ((0, 13, -32768, 32767), (7, 21, -128, 127), (3, 27, 0, 5)):
        step = Cell(source=1, rows=1, last_pes=1, gates=0, cell=0, target=0,
                    cell_shift=cell_shift, shift=shift, low=low, high=high)  # fmt: skip
        expected = [golden(tables, z, c, step) for z, c in zip(sums, cells, strict=True)]

        def scale(ctx, step, phase):
            """New cells are shifted in phase 4 and clamped in the next, outputs in 1 and 2."""
            shift = 14 + step.cell_shift if phase == 4 else step.shift
            ctx.set(dut.scale.shift, shift)
            ctx.set(dut.scale.below, (1 << shift >> 1) - 1)
            ctx.set(dut.scale.low, -32768 if phase == 0 else step.low)
            ctx.set(dut.scale.high, 32767 if phase == 0 else step.high)

        async def bench(ctx, step=step, expected=expected):
            ctx.set(dut.write_enable, 1)
            for beat in range(len(words) // LANES):
                part = words[beat * LANES : (beat + 1) * LANES]
                ctx.set(dut.write_address, beat)
                ctx.set(dut.write_data, sum(word << 32 * i for i, word in enumerate(part)))
                await ctx.tick()
            ctx.set(dut.write_enable, 0)
            ctx.set(dut.scale.cell_shift, step.cell_shift)
            for cycle in range(PHASES * elements + 19):
                number, phase = divmod(cycle, PHASES)
                ctx.set(dut.phase, phase)
                scale(ctx, step, phase)
                # What was read in the cycle before: the cell, sums of i, f, g, and o of a row ago.
                before, place = divmod(cycle - 1, PHASES)
                before -= place == PHASES - 1
                if 0 <= before < elements:
                    i, f, g, o = sums[before]
                    ctx.set(dut.value, (cells[before], i, f, g, o)[place])
                if phase == 1 and 0 <= number - 2 < elements:
                    assert ctx.get(dut.result) == expected[number - 2][0]
                if phase == 3 and 0 <= number - 3 < elements:
                    assert ctx.get(dut.result) == expected[number - 3][1]
                await ctx.tick()

        simulate(dut, bench)


@pytest.mark.parametrize("segments", [16, 256])
def test_elements_equal_the_golden_model(segments):
    check_elements(CellUnit, segments)


@pytest.mark.parametrize(
    ("sound", "broken"),
    [
        ("3: _SIGMOID, 4: _TANH}", "3: _TANH, 4: _SIGMOID}"),
        ("rise[bits - 1])", "0)"),
        ("product << self.scale.cell_shift", "product"),
        ("give.eq(found)", "give.eq(self.result)"),
        ("given ^ (1 << CELL_BITS - 1)", "given"),
        ("total.eq(total + product)", "total.eq(total - product)"),
    ],
)
def test_broken_copies_are_found_out(sound, broken):
    source = inspect.getsource(cell)
    assert source.count(sound) == 1
    exec(source.replace(sound, broken), found := {"__name__": "broken"})
    with pytest.raises(AssertionError):
        check_elements(found["CellUnit"], elements=40)


@pytest.mark.parametrize(
    ("segments", "message"),
    [(8, r"segments must be in 16\.\.4096, not 8"), (48, "a power of two, not 48")],
)
def test_segments_that_are_refused(segments, message):
    with pytest.raises(ValueError, match=message):
        Description(segments=segments)

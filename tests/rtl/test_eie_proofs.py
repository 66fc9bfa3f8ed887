# amaranth: UnusedElaboratable=no
"""Leading-nonzero nodes and the rounding, proved for all inputs; broken copies are found out."""

from __future__ import annotations

import pytest
from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, signed
from amaranth.sim import Simulator

from celosia.rtl.eie.descriptors import RunLayout
from celosia.rtl.eie.lnzd import RADIX, RADIX_BITS, NonzeroNode, lowest_bit, one_of
from celosia.rtl.eie.rounding import FloorAndCarry, clamped, mask_below

from .prover import prove

INDEX_BITS = 6


def node_proof(node):
    """Assert that the winner's (index, input) is the least of all candidates'."""
    m = Module()
    m.submodules.node = node
    m.d.comb += node.enable.eq(1)
    indices = [node.indices.word_select(n, INDEX_BITS) for n in range(RADIX)]
    winner = one_of(node.winner, [Const(n, RADIX_BITS) for n in range(RADIX)])
    lowest = one_of(node.winner, indices)
    m.d.comb += [
        Assert(node.any == node.valid.any()),
        Assert(node.any == node.winner.any()),
        Assert((node.winner & (node.winner - 1)) == 0),
    ]
    for n, index in enumerate(indices):
        least = Cat(winner, lowest) <= Cat(Const(n, RADIX_BITS), index)
        m.d.comb += [
            Assert(~node.winner[n] | node.valid[n]),
            Assert(~node.valid[n] | least),
        ]
    return m


def test_the_first_nonzero_of_all_wins(tmp_path):
    node = NonzeroNode(index_bits=INDEX_BITS)
    prove(node_proof(node), [node.valid, node.indices], tmp_path)


class TakesTheLast(NonzeroNode):
    """Of the first and the last alone the last wins where their indices are equal."""

    def build(self):
        m = super().build()
        first, last = (self.indices.word_select(n, INDEX_BITS) for n in (0, 3))
        with m.If((self.valid == 0b1001) & (first == last)):
            m.d.comb += self.winner.eq(0b1000)
        return m


def test_a_node_that_takes_another_is_found_out(tmp_path):
    node = TakesTheLast(index_bits=INDEX_BITS)
    with pytest.raises(AssertionError, match=r"Assert failed|assert"):
        prove(node_proof(node), [node.valid, node.indices], tmp_path)


def test_every_node_input():
    """All 4 x 2-bit candidates of one node, against a sort."""
    dut = NonzeroNode(index_bits=2)
    sim = Simulator(dut)

    async def bench(ctx):
        for case in range(1 << 12):
            ctx.set(dut.enable, 0)
            ctx.set(dut.valid, case & 15)
            ctx.set(dut.indices, case >> 4)
            found = sorted((case >> 4 + 2 * i & 3, i) for i in range(4) if case >> i & 1)
            assert ctx.get(dut.any) == bool(found)
            assert not ctx.get(dut.winner)
            ctx.set(dut.enable, 1)
            if found:
                assert ctx.get(dut.winner) == 1 << found[0][1]

    sim.add_testbench(bench)
    sim.run()


@pytest.mark.parametrize("width", [2, 16, 64])
def test_lowest_bit(width, tmp_path):
    flags, number = Signal(width), Signal(max(1, (width - 1).bit_length()))
    m = Module()
    found, index = lowest_bit(flags)
    m.d.comb += [
        number.eq(index),
        Assert(found == flags.any()),
        Assert(~found | flags.bit_select(number, 1)),
        Assert(~found | ((flags & ((1 << number) - 1)) == 0)),
    ]
    prove(m, [flags], tmp_path)


def rounding_proof(shift_of_reference):
    """Assert that the nearest is found, ties to even, for every total and shift."""
    m = Module()
    total, tile = Signal(signed(12)), Signal(RunLayout)
    result = Signal(signed(17))
    shift = tile.shift
    m.submodules.shifter = shifter = FloorAndCarry(len(total))
    m.d.comb += [
        shifter.total.eq(total),
        shifter.shift.eq(shift),
        shifter.mask.eq(mask_below(shift)),
        result.eq(clamped(m, shifter.floor, shifter.up, low=tile.low, high=tile.high)),
    ]
    wide = Signal(signed(40))
    # Twice the distance to the result, in units of what is shifted out, and its clamp.
    nearest = Signal(signed(14))
    m.d.comb += wide.eq(total << 1)
    rest, half = Signal(32), Signal(32)
    floor = Signal(signed(14))
    m.d.comb += [
        floor.eq(total >> shift_of_reference(shift)),
        rest.eq((total - (floor << shift)).as_unsigned()),
        half.eq(Mux(shift == 0, 2**31, (1 << shift) >> 1)),
        nearest.eq(floor + ((rest > half) | ((rest == half) & floor[0]))),
        Assert(
            (shift > 11)
            | (tile.low > tile.high)
            | (
                result
                == Mux(nearest < tile.low, tile.low, Mux(nearest > tile.high, tile.high, nearest))
            )
        ),
    ]
    return m, [total, tile.as_value()]


def test_rounding_is_to_even_for_all_totals(tmp_path):
    m, inputs = rounding_proof(lambda shift: shift)
    prove(m, inputs, tmp_path)


def test_a_wrong_shift_is_found_out(tmp_path):
    m, inputs = rounding_proof(lambda shift: shift ^ 1)
    with pytest.raises(AssertionError, match=r"Assert failed|assert"):
        prove(m, inputs, tmp_path)

# amaranth: UnusedElaboratable=no
"""Every code times every activation, against the format's own decoding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.sim import Simulator

from celosia.dataflow.area_blocks import stands_alone
from celosia.dataflow.array_shape import Circuit, ColumnGroup
from celosia.models.formats import Esb, Fixed, Format, Pot, Sp2
from celosia.rtl.pe import (
    LANE_BITS,
    LUT_MULTIPLIERS,
    MULTIPLIERS,
    MakeMultiplier,
    multiplier,
)
from celosia.rtl.pe.esb import FloatMultiplier
from celosia.rtl.pe.fixed import FixedMultiplier
from celosia.rtl.pe.pot import PotRows
from celosia.rtl.pe.sp2 import Sp2Multiplier


@pytest.mark.parametrize(
    ("weights", "bits"),
    [
        *((Fixed(bits=bits), 3) for bits in range(1, 9)),
        (Fixed(bits=4), 9),
        (Fixed(bits=3, signed=False), 5),
        *((Sp2(bits=bits), 3) for bits in range(3, 9)),
        (Sp2(bits=4), 9),
        *((Pot(bits=bits), 3) for bits in range(2, 6)),
        *((Esb(bits=b, linear=n), 3) for b, n in ((3, 0), (4, 1), (4, 2), (5, 1), (6, 2), (6, 3))),
        (Esb(bits=4, linear=2, signed=False), 5),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_every_product(weights: Format, bits: int) -> None:
    check(weights, bits, MULTIPLIERS)


@pytest.mark.parametrize(
    ("weights", "bits"),
    [
        *((Fixed(bits=bits), 3) for bits in (1, 2, 5, 6, 7, 9, 10)),
        (Fixed(bits=12), 2),
        (Fixed(bits=8, signed=False), 4),
        *((Sp2(bits=bits), 3) for bits in (4, 5, 7)),
        *((Pot(bits=bits), 3) for bits in (2, 4, 5)),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_every_product_of_look_up_tables(weights: Format, bits: int) -> None:
    check(weights, bits, LUT_MULTIPLIERS)


@pytest.mark.parametrize(
    ("circuit", "known"), [(Circuit.LANES, MULTIPLIERS), (Circuit.LUTS, LUT_MULTIPLIERS)]
)
def test_the_model_of_area_knows_which_products_stand_alone(
    circuit: Circuit, known: Mapping[type[Format], MakeMultiplier]
) -> None:
    formats = [
        *(Fixed(bits=bits) for bits in range(2, 17)),
        *(Sp2(bits=bits) for bits in range(3, 9)),
        *(Pot(bits=bits) for bits in range(2, 6)),
        *(
            Esb(bits=bits, linear=n)
            for bits in range(3, 9)
            for n in range(max(0, bits - 5), bits - 1)
        ),
    ]
    for weights in formats:
        unit = multiplier(Module(), weights, Signal(weights.bits), "w", known=known)
        group = ColumnGroup(format=weights, count=1, circuit=circuit)
        assert unit.alone == stands_alone(group), weights.name


def check(weights: Format, bits: int, known: Mapping[type[Format], MakeMultiplier]) -> None:
    m = Module()
    code, activation = Signal(weights.bits), Signal(signed(LANE_BITS))
    unit = multiplier(m, weights, code, "w", known=known)
    out, owed = Signal(signed(LANE_BITS)), Signal()
    m.d.comb += out.eq(unit.product(activation))
    if unit.owed is not None:
        m.d.comb += owed.eq(unit.owed)
    codes = np.arange(1 << weights.bits)
    values = np.arange(-(1 << bits - 1), 1 << bits - 1)
    got = np.zeros((len(codes), len(values)), dtype=np.int64)

    async def bench(ctx):
        for i, c in enumerate(codes):
            ctx.set(code, int(c))
            for j, v in enumerate(values):
                ctx.set(activation, int(v))
                got[i, j] = ctx.get(out) + ctx.get(owed)

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()
    np.testing.assert_array_equal(got, weights.decode(codes)[:, None] * values)


def test_wrong_format() -> None:
    m, code = Module(), Signal(4)
    with pytest.raises(TypeError, match="must be a Fixed"):
        FixedMultiplier(m, Sp2(bits=4), code, "w")
    with pytest.raises(TypeError, match="must be an Sp2"):
        Sp2Multiplier(m, Fixed(bits=4), code, "w")
    with pytest.raises(TypeError, match="must be a Pot"):
        PotRows(m, Fixed(bits=4), code, "w")
    with pytest.raises(TypeError, match="must be an Esb or a Pot"):
        FloatMultiplier(m, Fixed(bits=4), code, "w")
    with pytest.raises(ValueError, match="no multiplier for weights of format 'other4'"):
        multiplier(m, _Other(bits=4), code, "w")


class _Other(Format):
    name = "other4"

    def decode_table(self) -> np.ndarray:
        return np.arange(16)

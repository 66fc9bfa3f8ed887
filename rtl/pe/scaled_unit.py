"""The vector MAC of VS-Quant on its own (MLSys 2021, section 4.4), to be measured and proved."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib.wiring import In, Out

from celosia.models.formats import BlockScaling, Fixed, IntScale
from celosia.rtl.pe import LUT_MULTIPLIERS, MULTIPLIERS, multiplier
from celosia.rtl.pe.base import Term
from celosia.rtl.pe.scale import product_limit
from celosia.rtl.pe.unit import Lane, LaneShape, SignStyle, accumulate, dot_product
from celosia.rtl.shared import Shared


class ScaledUnit(Shared):
    """A dot product of one vector, times the rounded product of two scales, accumulated.

    Parameters
    ----------
    shape : LaneShape
        Of each lane.
    scaling : BlockScaling
        Integer scales, rounding of their product; ``vector`` lanes, a power of two.
    accumulator_bits : int
        Of the accumulator, two's complement; sums wrap.
    sign_style : SignStyle
        Who settles the carries of lanes.
    scaled_by : Lane
        What scales the sum: rows of look-up tables, or a product that synthesis may put into a
        DSP block.

    Members
    -------
    weights : In(vector * shape.weights.bits)
        Codes, lane 0 lowest.
    activations : In(vector * shape.activations.bits)
        Codes, lane 0 lowest.
    weight_scale, activation_scale : In(scaling.scale.bits)
    step : In(1)
        Add this cycle's scaled dot product to ``total``.
    clear : In(1)
        Set ``total`` to 0, whatever ``step`` is.
    total : Out(signed(accumulator_bits))
        From the cycle after, in units of ``2**scaling.dropped_bits``.

    Raises
    ------
    ValueError
        If the scales are no integers, or ``vector`` is no power of two.
    """

    def __init__(
        self,
        *,
        shape: LaneShape,
        scaling: BlockScaling,
        accumulator_bits: int,
        sign_style: SignStyle,
        scaled_by: Lane = Lane.ROWS,
    ) -> None:
        lanes = scaling.vector
        if not isinstance(scaling.scale, IntScale):
            raise ValueError(f"scales must be integers, not {scaling.scale.name}")
        if lanes & (lanes - 1):
            raise ValueError(f"vector must be a power of two, not {lanes!r}")
        self._shape, self._scaling, self._style = shape, scaling, sign_style
        self._known = LUT_MULTIPLIERS if scaled_by is Lane.ROWS else MULTIPLIERS
        kept = 2 * scaling.scale.bits - scaling.dropped_bits
        super().__init__(
            {
                "weights": In(lanes * shape.weights.bits),
                "activations": In(lanes * shape.activations.bits),
                "weight_scale": In(scaling.scale.bits),
                "activation_scale": In(scaling.scale.bits),
                "step": In(1),
                "clear": In(1),
                "total": Out(signed(accumulator_bits)),
            },
            name=f"scaled_{shape.lane.value}_{shape.weights.name}_{shape.activations.name}"
            f"_s{scaling.scale.bits}_p{kept}_{scaled_by.value}_c{lanes}_{sign_style.value}",
            parameters=(shape, scaling, accumulator_bits, sign_style, scaled_by),
        )

    def build(self) -> Module:
        m = Module()
        dot = dot_product(m, self._shape, self._style, self.weights, self.activations)
        bits = self._shape.term_bits + (self._scaling.vector - 1).bit_length()
        total = Signal(signed(bits))
        m.d.comb += total.eq(dot.value + (0 if dot.owed is None else dot.owed))
        dropped = self._scaling.dropped_bits
        scale = Signal(range(product_limit(self._scaling, True) + 1))
        exact = self.weight_scale * self.activation_scale
        m.d.comb += scale.eq((exact + (1 << dropped >> 1)) >> dropped)
        unit = multiplier(
            m,
            Fixed(bits=len(scale), signed=False),
            scale,
            "scale",
            width=min(len(self.total), bits + len(scale)),
            known=self._known,
        )
        accumulate(m, self, Term(value=unit.product(total).as_signed(), owed=unit.owed))
        return m

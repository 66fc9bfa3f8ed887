"""The vector MAC of VS-Quant, MX and NVFP4 on its own, to be measured and proved."""

from __future__ import annotations

from amaranth.hdl import Const, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.array_shape import Circuit
from celosia.models.formats import BlockScaling, Fixed
from celosia.rtl.pe import LUT_MULTIPLIERS, MULTIPLIERS, multiplier
from celosia.rtl.pe.base import Term
from celosia.rtl.pe.scale import Scale, decode_scale, product_limit, scale_product
from celosia.rtl.pe.unit import LaneShape, SignStyle, accumulate, dot_product
from celosia.rtl.shared import Shared


class ScaledUnit(Shared):
    """A dot product of one vector times its scales, accumulated ("VS-Quant", MLSys 2021, 4.4).

    Scales are decoded and multiplied as in the engine's columns (:mod:`celosia.rtl.vector`).

    Parameters
    ----------
    shape : LaneShape
        Of each lane.
    scaling : BlockScaling
        Scales, and the rounding of their product; ``vector`` lanes, a power of two.
    activation_scales : bool
        Whether activations have scales, of the same format, besides the weights.
    accumulator_bits : int
        Of the accumulator, two's complement; sums wrap.
    sign_style : SignStyle
        Who settles the carries of lanes.
    scaled_by : Circuit
        What scales the sum: rows of look-up tables (``LUTS``), or a product that synthesis may
        put into a DSP block (``LANES``).

    Members
    -------
    weights : In(vector * shape.weights.bits)
        Codes, lane 0 lowest.
    activations : In(vector * shape.activations.bits)
        Codes, lane 0 lowest.
    weight_scale : In(scaling.scale.bits)
    activation_scale : In(scaling.scale.bits)
        Where activations have scales.
    step : In(1)
        Add this cycle's scaled dot product to ``total``.
    clear : In(1)
        Set ``total`` to 0, whatever ``step`` is.
    total : Out(signed(accumulator_bits))
        From the cycle after; with activations' scales in units of ``2**scaling.dropped_bits``.

    Raises
    ------
    ValueError
        If ``vector`` is no power of two.
    """

    def __init__(
        self,
        *,
        shape: LaneShape,
        scaling: BlockScaling,
        activation_scales: bool,
        accumulator_bits: int,
        sign_style: SignStyle,
        scaled_by: Circuit = Circuit.LUTS,
    ) -> None:
        lanes = scaling.vector
        if lanes & (lanes - 1):
            raise ValueError(f"vector must be a power of two, not {lanes!r}")
        self._shape, self._scaling, self._style = shape, scaling, sign_style
        self._activation_scales = activation_scales
        self._known = LUT_MULTIPLIERS if scaled_by is Circuit.LUTS else MULTIPLIERS
        both = f"_both_d{scaling.dropped_bits}" if activation_scales else ""
        scale = In(scaling.scale.bits)
        super().__init__(
            {
                "weights": In(lanes * shape.weights.bits),
                "activations": In(lanes * shape.activations.bits),
                "weight_scale": scale,
                **({"activation_scale": scale} if activation_scales else {}),
                "step": In(1),
                "clear": In(1),
                "total": Out(signed(accumulator_bits)),
            },
            name=f"scaled_{shape.name}_{scaling.scale.name}{both}_{scaled_by.value}"
            f"_c{lanes}_{sign_style.value}",
            parameters=(
                shape, scaling, activation_scales, accumulator_bits, sign_style, scaled_by
            ),
        )  # fmt: skip

    @property
    def shape(self) -> LaneShape:
        return self._shape

    @property
    def scaling(self) -> BlockScaling:
        return self._scaling

    @property
    def activation_scales(self) -> bool:
        return self._activation_scales

    def build(self) -> Module:
        m = Module()
        dot = dot_product(m, self._shape, self._style, self.weights, self.activations)
        bits = self._shape.term_bits + (self._scaling.vector - 1).bit_length()
        total = Signal(signed(bits))
        m.d.comb += total.eq(dot.total)
        accumulate(m, self, self._scaled(m, total, self._scale()))
        return m

    def _scaled(self, m: Module, total: Value, scale: Scale) -> Term:
        """Return ``total`` times ``scale``."""
        term = Term(value=total)
        if not isinstance(scale.significand, Const):
            significand = Signal(len(scale.significand))
            m.d.comb += significand.eq(scale.significand)
            unit = multiplier(
                m,
                Fixed(bits=len(significand), signed=False),
                significand,
                "scale",
                width=min(len(self.total), len(total) + len(significand)),
                known=self._known,
            )
            term = Term(value=unit.product(total).as_signed(), owed=unit.owed)
        if scale.shift is None:
            return term
        return Term(value=(term.total << scale.shift)[: len(self.total)].as_signed())

    def _scale(self) -> Scale:
        """Return what the sum is multiplied by."""
        weight = decode_scale(self._scaling.scale, self.weight_scale)
        if not self._activation_scales:
            return weight
        other = decode_scale(self._scaling.scale, self.activation_scale)
        return scale_product(self._scaling, weight, other)


def scaled_bits(shape: LaneShape, scaling: BlockScaling, *, activation_scales: bool) -> int:
    """Return the bits of a vector's scaled sum, signed."""
    limit = product_limit(scaling, activation_scales)
    return shape.term_bits + (scaling.vector - 1).bit_length() + limit.bit_length()

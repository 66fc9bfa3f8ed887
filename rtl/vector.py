"""A vector's dot product times its scales: the vector MAC of VS-Quant, MX and NVFP4."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.microarchitecture import tree_levels
from celosia.models.formats import BlockScaling, Format
from celosia.rtl.circuits import DOTS
from celosia.rtl.dot import DotShape
from celosia.rtl.pe import LANE_BITS
from celosia.rtl.pe.scale import Scale, decode_scale, product_limit, scale_product
from celosia.rtl.shared import Shared

EARLY_SHIFT = 2
"""Bits of a scale's shift that its significand is shifted by while the adder tree adds."""


class VectorMac(Shared):
    """A dot product for each pixel lane, times the weights' scale and the pixel's.

    ``sums`` come ``len(tree_levels(lanes)) + 1`` cycles after the operands. The product of two
    scales is rounded as :meth:`~celosia.models.formats.BlockScaling.product` does while the
    adder tree adds, so that it costs no cycles. It is not where ``rounded`` is 0: then one of
    the two is 1.

    Parameters
    ----------
    weight_format : Format
        Format of the weights.
    scaling : BlockScaling
        Format of the scales, rounding of their product; its ``vector`` does not matter.
    activation_scales : bool
        Whether activations have scales.
    lanes : int
        Terms of a dot product, at least 1.
    pixels : int
        Dot products, at least 1.
    activation_bits : int
        Bits of an activation, its sign bit included.
    circuit : Circuit
        What the products are made of; it changes neither bits nor cycles.

    Members
    -------
    weights : In(lanes * weight_format.bits)
        Codes, lane 0 lowest.
    scale : In(scaling.scale.bits)
        The code of the weights' scale.
    activations : In(lanes * LANE_BITS).array(pixels)
        Activations sign-extended to ``LANE_BITS`` bits, lane 0 lowest.
    activation_scales : In(scaling.scale.bits).array(pixels)
        The codes of the activations' scales, where they have scales.
    rounded : In(1)
        Products of scales are rounded; where they can be.
    sums : Out(signed(sum_bits)).array(pixels)
    """

    def __init__(
        self,
        *,
        weight_format: Format,
        scaling: BlockScaling,
        activation_scales: bool,
        lanes: int,
        pixels: int,
        activation_bits: int,
        circuit: Circuit = Circuit.LANES,
    ) -> None:
        self._scaling, self._activation_scales = scaling, activation_scales
        self._circuit, self._pixels = circuit, pixels
        self._shape = DotShape(
            weight_format=weight_format,
            lanes=lanes,
            pixels=pixels,
            activation_bits=activation_bits,
        )
        self._dot_bits = self._shape.product_bits + (lanes - 1).bit_length()
        limit = product_limit(scaling, activation_scales)
        scales = {"activation_scales": In(scaling.scale.bits).array(pixels)}
        if scaling.dropped_bits:
            scales["rounded"] = In(1)
        kept = "" if scaling.product_bits is None else f"_p{scaling.product_bits}"
        both = f"_both{kept}" if activation_scales else ""
        super().__init__(
            {
                "weights": In(lanes * weight_format.bits),
                "scale": In(scaling.scale.bits),
                "activations": In(lanes * LANE_BITS).array(pixels),
                **(scales if activation_scales else {}),
                "sums": Out(signed(self._dot_bits + limit.bit_length())).array(pixels),
            },
            name=f"{circuit.prefix}vector_{weight_format.name}_{scaling.scale.name}{both}"
            f"_c{lanes}_x{pixels}",
            parameters=(
                weight_format,
                scaling.scale,
                scaling.product_bits if activation_scales else None,
                activation_scales,
                lanes,
                pixels,
                activation_bits,
                circuit,
            ),
        )

    @property
    def sum_bits(self) -> int:
        """Bits of a sum, signed."""
        return len(self.sums[0])

    def build(self) -> Module:
        m = Module()
        totals = DOTS[self._circuit](self._shape).sums(m, self.weights, list(self.activations))
        weight = decode_scale(self._scaling.scale, self.scale)
        for pixel, total in enumerate(totals):
            scale = self._waited(m, self._scale(m, weight, pixel), pixel)
            product = total[: self._dot_bits].as_signed() * scale.significand
            if scale.shift is not None:
                product = product << scale.shift
            scaled = Signal(signed(self.sum_bits), name=f"scaled_{pixel}", reset_less=True)
            m.d.sync += scaled.eq(product)
            m.d.comb += self.sums[pixel].eq(scaled)
        return m

    def _scale(self, m: Module, weight: Scale, pixel: int) -> Scale:
        """Return what the sum of ``pixel`` is multiplied by."""
        if not self._activation_scales:
            return weight
        other = decode_scale(self._scaling.scale, self.activation_scales[pixel])
        product = scale_product(self._scaling, weight, other)
        if not self._scaling.dropped_bits:
            return product
        kept = Signal(product_limit(self._scaling, True).bit_length(), name=f"scale_{pixel}")
        exact = weight.significand * other.significand
        m.d.comb += kept.eq(Mux(self.rounded, product.significand, exact))
        return Scale(significand=kept, shift=None)

    def _waited(self, m: Module, scale: Scale, pixel: int) -> Scale:
        """Return ``scale`` when the dot product is there; of a float, shifted in part by then."""
        cycles = len(tree_levels(self._shape.lanes)) - 1
        significand = _delayed(m, scale.significand, cycles, f"significand_{pixel}")
        if scale.shift is None:
            return Scale(significand=_delayed(m, significand, 1, f"factor_{pixel}"), shift=None)
        shift = _delayed(m, scale.shift, cycles, f"shift_{pixel}")
        if not isinstance(significand, Const):
            early, late = shift[:EARLY_SHIFT], shift[EARLY_SHIFT:]
            significand, shift = significand << early, Cat(Const(0, EARLY_SHIFT), late)
        return Scale(
            significand=_delayed(m, significand, 1, f"factor_{pixel}"),
            shift=_delayed(m, shift, 1, f"last_shift_{pixel}"),
        )


def _delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Return ``value`` as it was ``cycles`` cycles ago."""
    if isinstance(value, Const):
        return value
    for cycle in range(cycles):
        stage = Signal(value.shape(), name=f"{name}_{cycle}", reset_less=True)
        m.d.sync += stage.eq(value)
        value = stage
    return value

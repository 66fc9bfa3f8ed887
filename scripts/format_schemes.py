"""The number formats that ``celosia bench formats`` compares: a registry.

To add one, add a :class:`Scheme` to :data:`SCHEMES`: its recipe, and of each format in it the
processing element in the table of ``celosia bench pe`` (:mod:`celosia.scripts.pe_cases`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from celosia.models.find_scales import ScaleMethod
from celosia.models.gradients import Gradient
from celosia.models.recipe import Assignment, Recipe, parse_blocks, parse_mix
from celosia.rtl.pe.unit import SignStyle
from celosia.scripts.pe_case import PeCase
from celosia.scripts.pe_cases import pe_cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One row of the table for each workload.

    Attributes
    ----------
    name
        What it is called.
    recipe
        Formats and methods; without error feedback, so that it shows what the format costs.
    elements
        For each share of the recipe's weights the name of its processing element; None where
        the table has none.
    weight_gradient
        What fine-tuning takes the gradient of the weights' rounding to be.
    """

    name: str
    recipe: Recipe
    elements: tuple[str | None, ...]
    weight_gradient: Gradient = Gradient.STRAIGHT_THROUGH

    def __post_init__(self) -> None:
        if len(self.elements) != len(self.recipe.weights):
            raise ValueError(
                f"elements of {self.name} must be one for each of its "
                f"{len(self.recipe.weights)} formats, not {self.elements!r}"
            )

    def cases(self, *, dsp_allowed: bool) -> tuple[PeCase | None, ...]:
        """Return the case of each element, with carries as signs; None where there is none."""
        known = _known(dsp_allowed)
        bits = self.recipe.activation_bits
        return tuple(
            None if element is None else known[element, share.format.bits, bits]
            for element, share in zip(self.elements, self.recipe.weights, strict=True)
        )


@functools.cache
def _known(dsp_allowed: bool) -> dict[tuple[str, int, int], PeCase]:
    """Return the cases with carries as signs, by name and widths of weight and activation."""
    return {
        (case.pe, case.weight_bits, case.act_bits): case
        for case in pe_cases()
        if case.sign_style is SignStyle.CARRY and case.dsp_allowed is dsp_allowed
    }


def _scheme(
    name: str,
    weights: str,
    elements: str | None,
    bits: int = 4,
    *,
    blocks: str | None = None,
    scale: ScaleMethod = ScaleMethod.MSE,
    assignment: Assignment = Assignment.VARIANCE,
    gradient: Gradient = Gradient.STRAIGHT_THROUGH,
) -> Scheme:
    """Return the scheme of a mix (:func:`parse_mix`) with activations of ``bits`` bits."""
    return Scheme(
        name=name,
        recipe=Recipe(
            weights=parse_mix(weights),
            activation_bits=bits,
            output_bits=8,
            assignment=assignment,
            scale=scale,
            activation_scale=scale,
            blocks=None if blocks is None else parse_blocks(blocks),
            error_feedback=False,
        ),
        elements=(None,) if elements is None else tuple(elements.split(",")),
        weight_gradient=gradient,
    )


SCHEMES = (
    _scheme("fixed W8A8", "fixed8", "fixed", 8),
    _scheme("fixed W4A8", "fixed4", "fixed", 8),
    _scheme("fixed W4A4", "fixed4", "fixed"),
    _scheme(
        "fixed W4A4, OCTAV", "fixed4", "fixed",
        scale=ScaleMethod.OCTAV, gradient=Gradient.MAGNITUDE_AWARE,
    ),
    _scheme("SP2 W4A4", "sp2_4", "sp2"),
    _scheme("PoT W4A4", "pot_4", "pot"),
    _scheme("ESB(4,1) = FP4, A4", "esb4_1", "esb4_1"),
    _scheme("MSQ W4A4", "sp2_4:60,fixed4:40", "sp2,fixed"),
    _scheme("MSP W4A4", "pot_4:60,fixed4:40", "pot,fixed"),
    _scheme(
        "RMSMP", "pot_4:60,fixed4:35,fixed8:5", "pot,fixed,fixed",
        assignment=Assignment.HESSIAN,
    ),
    _scheme("VS-Quant 4/4/4/-", "fixed4", "vsquant s4 weights", blocks="uint4:16"),
    _scheme("MXFP4 weights, A4", "esb4_1", None, blocks="e8m0_4:16"),
    _scheme("NVFP4 weights, A4", "esb4_1", "nvfp4 weights", blocks="ue4m3:16"),
)  # fmt: skip
"""Every scheme, in the order of the table."""

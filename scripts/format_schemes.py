"""The number formats that ``celosia bench formats`` compares: a registry.

To add one, add a :class:`Scheme` to :data:`SCHEMES`: its recipe, and for each of its columns the
processing element in the table of ``celosia bench pe`` (:mod:`celosia.scripts.pe_cases`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.precision import MAX_PRECISION, Precision, passes
from celosia.models.find_scales import ScaleMethod
from celosia.models.gradients import Gradient
from celosia.models.operations import MULTIPLY
from celosia.models.recipe import Assignment, Recipe, parse_blocks, parse_elements, parse_mix
from celosia.rtl.pe.unit import SignStyle
from celosia.scripts.format_cycles import Column
from celosia.scripts.format_training import WIDTHS, Layers, Task
from celosia.scripts.pe_case import PeCase
from celosia.scripts.pe_cases import pe_cases

MX_SCALE = "e8m0_3:32"
"""Of microscaling formats: 8 binades below a row's, or tensor's, largest scale."""

NV_SCALE = "ue4m3:16"
"""Of NVFP4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One row of the table for each workload.

    Attributes
    ----------
    name
        What it is called.
    task
        Layers, formats and methods; without error feedback, so that it shows what the format
        costs.
    elements
        The name of the processing element of columns, by the name of their weights' format, or
        of their operation where that is no multiplication; none where the table has none.
    circuit
        What its columns are made of.
    """

    name: str
    task: Task
    elements: dict[str, str]
    circuit: Circuit = Circuit.LANES

    @property
    def recipe(self) -> Recipe:
        """Formats and methods."""
        return self.task.recipe

    def cases(self, column: Column, *, dsp_allowed: bool) -> tuple[PeCase, ...]:
        """Return the elements that a column can be made of, the same but for their sign style.

        Without DSP blocks carries are signs; what has no case with them has no use for them.
        Empty where the table has none.
        """
        fmt, operation = column
        element = self.elements.get(fmt.name if operation == MULTIPLY else operation.name)
        if element is None:
            return ()
        widths = fmt.bits, self.recipe.activation_bits
        if self.circuit.scalable:
            widths = MAX_PRECISION, MAX_PRECISION
        found = _known()[element, *widths]
        allowed = tuple(case for case in found if case.dsp_allowed)
        if dsp_allowed and allowed:
            return allowed
        return tuple(
            case for case in found if not case.dsp_allowed and case.sign_style is SignStyle.CARRY
        )

    def product_cycles(self, column: Column) -> int:
        """Return the cycles that an element takes for a product of the scheme's widths."""
        if not self.circuit.scalable:
            return 1
        bits = self.recipe.activation_bits
        return passes(
            self.circuit,
            Precision(weight_bits=column[0].bits, activation_bits=bits, weights_signed=True),
        )


@functools.cache
def _known() -> dict[tuple[str, int, int], list[PeCase]]:
    """Return the cases by name and widths of weight and activation."""
    known: dict[tuple[str, int, int], list[PeCase]] = {}
    for case in pe_cases():
        known.setdefault((case.pe, case.weight_bits, case.act_bits), []).append(case)
    return known


def _scheme(
    name: str,
    weights: str,
    elements: str | None,
    bits: int = 4,
    *,
    blocks: str | None = None,
    activations: str | None = None,
    scale: ScaleMethod = ScaleMethod.MSE,
    assignment: Assignment = Assignment.VARIANCE,
    gradient: Gradient = Gradient.STRAIGHT_THROUGH,
    layers: Layers = Layers.PRODUCTS,
    distances: str | None = None,
    circuit: Circuit = Circuit.LANES,
) -> Scheme:
    """Return the scheme of a mix (:func:`parse_mix`) with activations of ``bits`` bits.

    ``elements`` are those of the mix's formats, ``distances`` that of adder layers;
    ``activations`` the format of activations that have scales of vectors, as ``blocks`` says.
    """
    mix = parse_mix(weights)
    named = {} if distances is None else {"distance": distances}
    if elements is not None:
        names = (share.format.name for share in mix)
        named |= dict(zip(names, elements.split(","), strict=True))
    recipe = Recipe(
        weights=mix,
        activation_bits=bits,
        output_bits=8,
        assignment=assignment,
        scale=scale,
        activation_scale=scale,
        blocks=None if blocks is None else parse_blocks(blocks),
        uneven_vectors=blocks is not None,  # R-Net has 28 and 48 channels
        elements=None if activations is None else parse_elements(activations),
        error_feedback=False,
    )
    task = Task(layers=layers, recipe=recipe, weight_gradient=gradient)
    return Scheme(name=name, task=task, elements=named, circuit=circuit)


def _schemes() -> Iterator[Scheme]:
    """Yield every scheme, in the order of the table."""
    yield _scheme("fixed W8A8", "fixed8", "fixed", 8)
    yield _scheme("fixed W4A8", "fixed4", "fixed", 8)
    for bits in (6, 5, 4, 3, 2):
        yield _scheme(f"fixed W{bits}A{bits}", f"fixed{bits}", "fixed", bits)
    for scale, gradient in (
        (ScaleMethod.MAX, Gradient.STRAIGHT_THROUGH),
        (ScaleMethod.OCTAV, Gradient.MAGNITUDE_AWARE),
    ):
        yield _scheme(
            f"fixed W4A4, {scale.value}", "fixed4", "fixed", scale=scale, gradient=gradient
        )
    yield _scheme("SP2 W4A8", "sp2_4", "sp2", 8)
    yield _scheme("SP2 W4A4", "sp2_4", "sp2")
    yield _scheme("PoT W4A4", "pot_4", "pot")
    yield _scheme("ESB(4,1) = FP4, A4", "esb4_1", "esb4_1")
    yield _scheme("MSQ W4A4", "sp2_4:60,fixed4:40", "sp2,fixed")
    yield _scheme("MSP W4A4", "pot_4:60,fixed4:40", "pot,fixed")
    yield _scheme(
        "RMSMP", "pot_4:60,fixed4:35,fixed8:5", "pot,fixed,fixed",
        assignment=Assignment.HESSIAN,
    )  # fmt: skip
    yield from _vectors()
    yield _scheme("AdderNet W8A8", "fixed8", "fixed", 8, layers=Layers.DISTANCES, distances="adder")
    yield _scheme("ShiftAddNet W5A8", "pot_5", "pot", 8, layers=Layers.SHIFTS, distances="adder")
    for bits in WIDTHS:
        yield _scheme(
            f"2-in-1 W{bits}A{bits}", f"fixed{bits}", "tile 4..8", bits,
            layers=Layers.SWITCHED, circuit=Circuit.TILE,
        )  # fmt: skip


def _vectors() -> Iterator[Scheme]:
    """Yield the schemes with scales of vectors, of weights alone and of both operands."""
    yield _scheme("VS-Quant 4/4/4/-", "fixed4", "vsquant s4 weights", blocks="uint4:16")
    yield _scheme(
        "VS-Quant 4/4/4/4", "fixed4", "vsquant s4 p8", blocks="uint4:16", activations="ufixed4"
    )
    for name, fmt, scale, bits in (
        ("MXINT8", "fixed8", MX_SCALE, 8),
        ("MXFP6 E2M3", "esb6_3", MX_SCALE, 6),
        ("MXFP6 E3M2", "esb6_2", MX_SCALE, 6),
        ("MXFP4", "esb4_1", MX_SCALE, 4),
        ("NVFP4", "esb4_1", NV_SCALE, 4),
    ):
        yield _scheme(name, fmt, name.lower(), bits, blocks=scale, activations=fmt)
    for name, scale in (("MXFP4", MX_SCALE), ("NVFP4", NV_SCALE)):
        element = f"{name.lower()} weights"
        yield _scheme(f"{name} weights, A4", "esb4_1", element, blocks=scale)


SCHEMES = tuple(_schemes())
"""Every scheme, in the order of the table."""

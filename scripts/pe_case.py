"""One row of the table of processing elements; the registry is :mod:`celosia.scripts.pe_cases`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from celosia.rtl.pe.unit import SignStyle
from celosia.rtl.shared import Shared


@dataclass(frozen=True, slots=True, kw_only=True)
class PeCase:
    """One row of the table.

    Attributes
    ----------
    pe : str
        Name of the processing element, without its operands' widths.
    build : Callable
        Returns the component to synthesise.
    lanes : int
        Products (or terms) that it makes a cycle; amounts are divided by it.
    weight_bits, act_bits : int
        Width of a weight and of an activation.
    cycles : float
        Cycles that a lane takes for a product, on average.
    sign_style : SignStyle
        Who settles the carries of lanes.
    dsp_allowed : bool
        Whether synthesis may use DSP blocks.
    proof : str
        The test that proves it, as ``file::function``; empty where nothing does.
    black_boxes : str
        Verilog of modules without contents for primitives that Yosys does not know.
    """

    pe: str
    build: Callable[[], Shared]
    lanes: int
    weight_bits: int
    act_bits: int
    cycles: float = 1.0
    sign_style: SignStyle = SignStyle.CARRY
    dsp_allowed: bool = False
    proof: str = ""
    black_boxes: str = ""

    def __post_init__(self) -> None:
        if self.lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {self.lanes!r}")
        if self.cycles < 1:
            raise ValueError(f"cycles must be at least 1, not {self.cycles!r}")

    @property
    def title(self) -> str:
        """Name with operand widths, sign style and DSP blocks, as a selection is matched with."""
        style = self.sign_style.value
        return title_of(self.pe, self.weight_bits, self.act_bits, style, self.dsp_allowed)


def title_of(pe: str, weight_bits: int, act_bits: int, sign_style: str, dsp_allowed: bool) -> str:
    """Return a row's title; see :attr:`PeCase.title`."""
    dsp = "+dsp" if dsp_allowed else ""
    return f"{pe} w{weight_bits}a{act_bits} {sign_style}{dsp}"

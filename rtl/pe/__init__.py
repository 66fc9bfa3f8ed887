"""Processing elements: what turns a weight's code and an activation into a term of a sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from amaranth.hdl import Module, Value

from celosia.models.formats import Esb, Fixed, Format, Pot, Sp2
from celosia.rtl.pe.base import LANE_BITS, Multiplier, Term
from celosia.rtl.pe.esb import FloatMultiplier
from celosia.rtl.pe.fixed import FixedMultiplier, FixedRows
from celosia.rtl.pe.pot import PotRows
from celosia.rtl.pe.sp2 import Sp2Multiplier, Sp2Rows


class MakeMultiplier(Protocol):
    """A kind of multiplier: its class."""

    def __call__(
        self, m: Module, weight_format: Format, code: Value, name: str, width: int, /
    ) -> Multiplier: ...


Kind = TypeVar("Kind", bound=MakeMultiplier)

MULTIPLIERS: dict[type[Format], MakeMultiplier] = {
    Esb: FloatMultiplier,
    Fixed: FixedMultiplier,
    Pot: FloatMultiplier,
    Sp2: Sp2Multiplier,
}
"""The multiplier of each kind of format; see :func:`register_multiplier`."""

LUT_MULTIPLIERS: dict[type[Format], MakeMultiplier] = {
    **MULTIPLIERS,
    Fixed: FixedRows,
    Pot: PotRows,
    Sp2: Sp2Rows,
}
"""The same of look-up tables alone, where synthesis might take DSP blocks."""


def register_multiplier(weight_format: type[Format]) -> Callable[[Kind], Kind]:
    """Make :func:`multiplier` know the multiplier of a kind of format: decorates its class."""

    def register(make: Kind) -> Kind:
        MULTIPLIERS[weight_format] = LUT_MULTIPLIERS[weight_format] = make
        return make

    return register


def multiplier(
    m: Module,
    weight_format: Format,
    code: Value,
    name: str,
    *,
    width: int = LANE_BITS,
    known: Mapping[type[Format], MakeMultiplier] = MULTIPLIERS,
) -> Multiplier:
    """Return the multiplier for a weight ``code`` of ``weight_format``.

    Parameters
    ----------
    m : Module
        Takes the decoding.
    weight_format : Format
        Format of the weight.
    code : Value
        Unsigned, ``weight_format.bits`` wide.
    name : str
        Ends the names of signals.
    width : int
        Bits of a product.
    known : Mapping
        The multiplier of each kind of format.

    Raises
    ------
    ValueError
        No multiplier is known for the format.
    """
    for kind, make in known.items():
        if isinstance(weight_format, kind):
            return make(m, weight_format, code, name, width)
    raise ValueError(f"no multiplier for weights of format {weight_format.name!r}")


__all__ = [
    "LANE_BITS",
    "LUT_MULTIPLIERS",
    "MULTIPLIERS",
    "MakeMultiplier",
    "Multiplier",
    "Term",
    "multiplier",
    "register_multiplier",
]

"""Multipliers, one for each number format of weights."""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Module, Value

from celosia.models.formats import Esb, Fixed, Format, Pot, Sp2
from celosia.rtl.pe.base import LANE_BITS, Multiplier
from celosia.rtl.pe.esb import EsbMultiplier
from celosia.rtl.pe.fixed import FixedMultiplier
from celosia.rtl.pe.pot import PotMultiplier
from celosia.rtl.pe.sp2 import Sp2Multiplier

MakeMultiplier = Callable[[Module, Format, Value, str], Multiplier]

MULTIPLIERS: dict[type[Format], MakeMultiplier] = {
    Esb: EsbMultiplier,
    Fixed: FixedMultiplier,
    Pot: PotMultiplier,
    Sp2: Sp2Multiplier,
}
"""The multiplier of each kind of format; a new format adds itself here."""


def multiplier(m: Module, weight_format: Format, code: Value, name: str) -> Multiplier:
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

    Raises
    ------
    ValueError
        No multiplier is known for the format.
    """
    for kind, make in MULTIPLIERS.items():
        if isinstance(weight_format, kind):
            return make(m, weight_format, code, name)
    raise ValueError(f"no multiplier for weights of format {weight_format.name!r}")


__all__ = ["LANE_BITS", "MULTIPLIERS", "MakeMultiplier", "Multiplier", "multiplier"]

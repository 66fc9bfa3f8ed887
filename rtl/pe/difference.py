"""The lane of AdderNet: minus the distance of weight and activation (CVPR 2020, section 3)."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, signed

from celosia.rtl.pe.base import Term


def difference(m: Module, weight: Value, activation: Value, name: str) -> Term:
    """Return ``-|activation - weight|``.

    The difference is inverted where it is not negative, which owes the 1 of a negation.

    Parameters
    ----------
    m : Module
        Takes the subtraction.
    weight, activation : Value
        Signed or unsigned as their shapes say, in one scale.
    name : str
        Ends the names of signals.
    """
    apart = activation - weight
    kept = Signal(signed(len(apart)), name=f"apart_{name}")
    positive = Signal(name=f"positive_{name}")
    m.d.comb += [kept.eq(apart), positive.eq(~kept[-1])]
    return Term(value=(kept ^ positive.replicate(len(kept))).as_signed(), owed=positive)

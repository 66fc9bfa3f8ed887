"""Elements: the formats of activations that have scales of vectors."""

from __future__ import annotations

from dataclasses import replace

from celosia.models.formats.base import Format
from celosia.models.formats.esb import Esb
from celosia.models.formats.fixed import Fixed

Element = Fixed | Esb
"""What an activation with a scale can be."""

MAX_ELEMENT_BITS = 8


def check_elements(fmt: object) -> Element:
    """Return ``fmt`` where activations with scales can have it.

    Raises ``TypeError`` if it is no fixed point nor ESB format, ``ValueError`` if it has less than
    2 bits or more than :data:`MAX_ELEMENT_BITS`, or is too short for a sign.
    """
    if not isinstance(fmt, Fixed | Esb):
        name = fmt.name if isinstance(fmt, Format) else repr(fmt)
        raise TypeError(f"elements must be of a fixed-point or esb format, not {name}")
    if not 2 <= fmt.bits <= MAX_ELEMENT_BITS:
        raise ValueError(f"elements must have 2 to {MAX_ELEMENT_BITS} bits, not {fmt.name}")
    element_formats(fmt)
    return fmt


def element_of(fmt: Element, *, signed: bool) -> Element:
    """Return the format of elements of a tensor, whose values have both signs where ``signed``.

    A format with a sign is that of all tensors, as OCP's and NVIDIA's formats are. One without
    is that of tensors without negative values; the others have the same with a sign (VS-Quant).
    """
    return replace(fmt, signed=True) if signed else fmt


def element_formats(fmt: Element) -> tuple[Element, ...]:
    """Return the formats that :func:`element_of` gives: one, or that without a sign first."""
    return (fmt,) if fmt.signed else (fmt, replace(fmt, signed=True))

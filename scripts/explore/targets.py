"""What a device means for a search: its limits, what its multiplier blocks are, a clock."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Final

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.area import ECP5, ULTRASCALE_PLUS, Amount, block_areas, estimate_area, guessed
from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.explore.outcome import Limit, Quantity
from celosia.dataflow.explore.starts import Area
from celosia.fpga.devices import Device, Family, Resources
from celosia.models.errors import CelosiaError

CLOCKS: Final[Mapping[Family, float]] = {
    Family.ULTRASCALE_PLUS: 200.0,
    Family.SERIES_7: 100.0,
    Family.ECP5: 25.0,
}
"""MHz that are assumed where none are asked for: no vendor's tool has confirmed them."""

_HARD: Final[Mapping[Family, Circuit]] = {
    Family.ULTRASCALE_PLUS: Circuit.DSP,  # products packed into DSP48E2 blocks
    Family.SERIES_7: Circuit.LANES,  # synthesis maps products to DSP48E1 blocks,
    Family.ECP5: Circuit.LANES,  # and to MULT18X18D blocks
}

_BUDGETED: Final = (Quantity.LUT, Quantity.FF, Quantity.DSP, Quantity.BRAM)


def hard_circuit(device: Device) -> Circuit:
    """Return what columns are made of that multiply in the device's multiplier blocks."""
    return _HARD[device.family]


def area_model(device: Device) -> Area:
    """Return what tells how much of the device an accelerator takes."""
    return functools.partial(estimate_area, family=area_family(device))


def modelled(accelerator: Accelerator, device: Device) -> Resources:
    """Return what ``accelerator`` takes of ``device`` by the model of area, UltraRAM too."""
    blocks = block_areas(accelerator, area_family(device)).values()
    whole = sum(blocks, start=Amount())
    return Resources(
        lut=round(whole.lut), ff=round(whole.ff), dsp=whole.dsp, bram=whole.bram, uram=whole.uram
    )


def guesswork(accelerator: Accelerator, device: Device) -> str:
    """Return what the model of area never saw of ``accelerator``, in a sentence, or nothing."""
    unseen = guessed(accelerator, area_family(device))
    return unseen and (
        f"The model of area was not fitted to {unseen}: 'celosia synth --device {device.name}' "
        "counts"
    )


def area_family(device: Device) -> str:
    """Return the family in whose table of areas the device's blocks are."""
    return ECP5 if device.family is Family.ECP5 else ULTRASCALE_PLUS


def limits_of(device: Device, asked: Sequence[Limit]) -> tuple[Limit, ...]:
    """Return the budget of ``device`` and what was ``asked`` for, the tighter of two.

    Raises
    ------
    CelosiaError
        When a limit leaves nothing: an amount that must be 0 and yet is needed by anything.
    """
    budget = device.budget.as_dict()
    given = [Limit(quantity=q, value=float(budget[q.value])) for q in _BUDGETED if budget[q.value]]
    tightest: dict[Quantity, Limit] = {}
    for limit in (*given, *asked):
        other = tightest.get(limit.quantity)
        tighter = other is None or (limit.value > other.value) == limit.quantity.wanted_large
        if tighter and limit != other:
            tightest[limit.quantity] = limit
    for quantity in (Quantity.LUT, Quantity.FF):
        if quantity in tightest and not tightest[quantity].value:
            raise CelosiaError(
                f"limit {tightest[quantity].text}: every accelerator needs some {quantity.unit}"
            )
    return tuple(tightest.values())


def parse_fixed(texts: Sequence[str]) -> dict[str, tuple[int | str, ...]]:
    """Return the values of knobs that texts such as ``lanes=16`` or ``columns=32,64`` say.

    Raises :class:`CelosiaError` when one says nothing, or a knob is named twice.
    """
    fixed: dict[str, tuple[int | str, ...]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        if not sign or not name or not values:
            raise CelosiaError(f"--fix {text!r}: write knob=value or knob=value,value")
        if name in fixed:
            raise CelosiaError(f"--fix names {name} twice: write all its values after one =")
        fixed[name] = tuple(
            int(value) if value.isdecimal() else value for value in values.split(",")
        )
    return fixed

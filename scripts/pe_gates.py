"""What the table of processing elements must say: published shares and amounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from celosia.scripts.bench_pe import PeRow
from celosia.scripts.pe_case import PeCase
from celosia.scripts.pe_cases import pe_cases


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A bound on what a product takes, in look-up tables or logic cells.

    Attributes
    ----------
    name : str
        Short name.
    element : str
        Title of the case that it is about.
    limit : float
        Greatest share of the look-up tables of ``against``, or, without one, of logic cells.
    against : str
        Title of the baseline, as published tables count it: signs and magnitudes, same sign style.
    ours : str
        Title of our own, cheaper baseline, which the gate does not count; may be empty.
    """

    name: str
    element: str
    limit: float
    against: str = ""
    ours: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was measured for a gate: a share, or logic cells, and the share of our own baseline."""

    gate: Gate
    measured: float
    of_ours: float | None

    @property
    def holds(self) -> bool:
        return self.measured <= self.gate.limit

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        measured = {"measured": self.measured, "of_ours": self.of_ours, "holds": self.holds}
        return asdict(self.gate) | measured


def _share(name: str, element: str, limit: float, operands: str) -> Gate:
    return Gate(
        name=name,
        element=f"{element} carry",
        limit=limit,
        against=f"fixed, sign-magnitude {operands} carry",
        ours=f"fixed {operands} carry",
    )


GATES = (
    _share("SP2 W4A4", "sp2 w4a4", 1.05, "w4a4"),
    _share("SP2 W4A8", "sp2 w4a8", 0.98, "w4a8"),
    _share("PoT W4A8", "pot w4a8", 0.95, "w4a8"),
    _share("ESB(4,1)^2", "esb4_1^2 w4a4", 0.35, "w8a8"),
    _share("VS-Quant 4/4/4/4, 6 bits kept", "vsquant s4 p6 w4a4", 0.40, "w8a8"),
    _share("VS-Quant 4/4/4/4, 4 bits kept", "vsquant s4 p4 w4a4", 0.40, "w8a8"),
    _share("AdderNet, 8 bits", "adder w8a8", 0.25, "w8a8"),
    _share("shift, 4-bit weights", "shift, 6 bits dropped w4a8", 0.60, "w8a8"),
    *(
        Gate(
            name=f"tile and Bit Fusion, {widths} bits",
            element=f"tile {widths} w16a16 carry",
            limit=1.0,
            against=f"fusion {widths} w16a16 carry",
        )
        for widths in ("4..8", "4..16")
    ),
    Gate(name="LC, fixed W4A4", element="fixed w4a4 carry", limit=14.3),
    Gate(name="LC, SP2 W4A4", element="sp2 w4a4 carry", limit=14.3),
    Gate(name="LC, SP2 W4A8", element="sp2 w4a8 carry", limit=28.4),
    Gate(name="LC, PoT W4A8", element="pot w4a8 carry", limit=27.8),
    Gate(name="LC, ESB(4,1)^2", element="esb4_1^2 w4a4 carry", limit=20.6),
    Gate(name="LC, AdderNet, 8 bits", element="adder w8a8 carry", limit=10.5),
)
"""Shares as papers claim them, and amounts that others measured of the same units."""


def gate_cases() -> tuple[PeCase, ...]:
    """Return the cases that the gates are about."""
    titles = {title for g in GATES for title in (g.element, g.against, g.ours) if title}
    return tuple(case for case in pe_cases() if case.title in titles)


def judge(rows: Iterable[PeRow]) -> list[Verdict]:
    """Return the verdict on every gate; ``rows`` hold those of :func:`gate_cases`."""
    by_title = {row.title: row for row in rows}
    return [_judged(gate, by_title) for gate in GATES]


def _judged(gate: Gate, rows: Mapping[str, PeRow]) -> Verdict:
    row = rows[gate.element]
    if not gate.against:
        return Verdict(gate=gate, measured=row.lc_per_lane, of_ours=None)
    taken = row.lut_raw_per_lane * row.cycles
    shares = [
        taken / (rows[title].lut_raw_per_lane * rows[title].cycles) if title else None
        for title in (gate.against, gate.ours)
    ]
    assert shares[0] is not None
    return Verdict(gate=gate, measured=shares[0], of_ours=shares[1])

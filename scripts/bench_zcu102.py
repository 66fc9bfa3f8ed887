"""The W4A4 engine of the ZCU102: what it takes of the part, and networks beside published figures.

The area and the logic levels are Yosys's, block by block. Cycles are measured in RTL. Frames a
second are one over cycles at clocks that nothing was placed and routed for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from celosia.dataflow.presets import preset
from celosia.fpga.devices import ZCU102
from celosia.fpga.yosys import SynthReport, synth
from celosia.scripts.bench_networks import CASES, NetworkRow, bench_networks
from celosia.scripts.console import Report, markdown_table, table
from celosia.scripts.report_network import CLOCKS_MHZ, frames

ACCELERATOR: Final = "zcu102_w4a4"
"""The preset that is measured."""

LIMITS: Final = {"lut": 0.75, "dsp": 0.95, "bram": 0.90}
"""Shares of the part that the engine may take: what is left is for place and route."""

NOTE: Final = "not placed and routed"
"""What stands beside every frame a second."""

PUBLISHED: Final = {
    "resnet18": {"FILM-QNN": 214.8},
    "resnet50": {"FILM-QNN": 109.1, "DPU": 191.0},
    "mobilenet_v2": {"FILM-QNN": 537.9},
}
"""Frames a second that others state for the ZCU102, on the board.

FILM-QNN (FPGA 2022): 95 % of rows W4A5 and 5 % W8A5. DPU: AMD's overlay, W8A8.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zcu102:
    """The engine's synthesis, and a row for each network."""

    synthesis: SynthReport
    rows: tuple[NetworkRow, ...]

    @property
    def fits(self) -> bool:
        """Whether the engine stays within :data:`LIMITS`."""
        return all(self.synthesis.fractions[name] <= most for name, most in LIMITS.items())

    @property
    def holds(self) -> bool:
        """Whether it fits, and every network ran as expected."""
        return self.fits and all(row.holds for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, a summary that ``celosia report`` reads."""
        found = self.synthesis.as_dict()
        total = found["total"]
        del found["blocks"]
        networks = {row.network: {**row.as_dict(), "synthesis": found} for row in self.rows}
        return {
            "accelerator": ACCELERATOR,
            "products_per_cycle": preset(ACCELERATOR).products,
            "device": ZCU102.name,
            **{name: total[name] for name in ("lut", "ff", "dsp")},
            "bram36": total["bram"],
            "shares": found["fractions"],
            "limits": LIMITS,
            "logic_levels": self.synthesis.logic_levels,
            "fits": self.fits,
            "holds": self.holds if self.rows else None,  # no output was looked at
            "note": NOTE,
            "networks": {
                name: {
                    **network,
                    "frames_per_second": frames(network),
                    "published_frames_per_second": PUBLISHED[name],
                }
                for name, network in networks.items()
            },
        }


def bench_zcu102(report: Report, *, networks: bool = True) -> Zcu102:
    """Synthesise :data:`ACCELERATOR` and run its networks whole in RTL; both are kept.

    Without ``networks`` nothing is run.

    Raises
    ------
    CelosiaError
        When a tool is missing or fails.
    """
    report("synthesise", 0, 1)
    synthesis = synth(preset(ACCELERATOR), ZCU102, levels=True)
    names = [case.name for case in CASES if case.accelerator == ACCELERATOR]
    rows = bench_networks(names, report) if networks else ()
    return Zcu102(synthesis=synthesis, rows=tuple(rows))


def tables(found: Zcu102) -> list[Table]:
    """Return what to show: the part, and the networks that ran."""
    area = table(_AREA_HEADERS, _area_cells(found), title=f"{ACCELERATOR} by Yosys, by block")
    if not found.rows:
        return [area]
    return [area, table(_HEADERS, _cells(found), title=f"Frames a second, {NOTE}")]


def markdown(found: Zcu102) -> str:
    """Return the tables of docs/benchmarks.md."""
    part = markdown_table(_AREA_HEADERS, _area_cells(found))
    if not found.rows:
        return part
    return f"{part}\n{markdown_table(_HEADERS, _cells(found))}"


_AREA_HEADERS = ("of the part", "used", "there", "share", "at most")
_HEADERS = (
    "network", "cycles predicted", "measured", "use", "exact",
    *(f"{clock} MHz" for clock in CLOCKS_MHZ), "published",
)  # fmt: skip


def _area_cells(found: Zcu102) -> Iterator[tuple[str, ...]]:
    total, budget = found.synthesis.total.as_dict(), ZCU102.budget.as_dict()
    for name, most in LIMITS.items():
        share = found.synthesis.fractions[name]
        yield (
            {"bram": "BRAM36"}.get(name, name.upper()),
            f"{total[name]:,}",
            f"{budget[name]:,}",
            f"{100 * share:.1f} %",
            f"{100 * most:.0f} %{'' if share <= most else ', DOES NOT FIT'}",
        )
    yield "logic levels", str(found.synthesis.logic_levels), "-", "-", "-"


def _cells(found: Zcu102) -> Iterator[tuple[str, ...]]:
    for row, network in zip(found.rows, found.as_dict()["networks"].values(), strict=True):
        published = network["published_frames_per_second"].items()
        yield (
            row.network,
            f"{row.cycles_predicted:,}",
            f"{row.cycles_measured:,}",
            f"{100 * row.utilisation:.1f} %",
            "yes" if row.holds else "NO",
            *(f"{rate:,.1f}" for rate in network["frames_per_second"].values()),
            ", ".join(f"{who} {rate:g}" for who, rate in published),
        )

"""The table of number formats as text, on the screen and in the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celosia.scripts.console import markdown_table

HEADERS = ("format", "float %", "PTQ %", "QAT %", "bits", "LUT", "LUT, DSP", "cycles at products")


def table_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the text of each column of :data:`HEADERS` for a row of the table."""
    only, lut, dsp = (row[f"{kind}_per_product"] for kind in ("lut_only", "lut", "dsp"))
    return (
        row["format"],
        *(
            f"{100 * row[f'{kind}_mean']:.2f} ({100 * row[f'{kind}_spread']:.2f})"
            for kind in ("float", "ptq", "qat")
        ),
        f"{row['bits_per_weight']:.3g}",
        "-" if only is None else f"{only:.1f}",
        "-" if lut is None else f"{lut:.1f}, {dsp:.2g}",
        f"{row['cycles']:,} at {row['products_per_cycle']:,}",
    )


def workloads(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the workloads that there are rows of, in their order."""
    return list(dict.fromkeys(row["workload"] for row in rows))


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table for each workload."""
    parts = []
    for name in workloads(rows):
        cells = (table_cells(row) for row in rows if row["workload"] == name)
        parts.append(f"**{name}**\n\n{markdown_table(HEADERS, cells)}")
    return "\n".join(parts)

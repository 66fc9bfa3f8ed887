"""The table of processing elements as the documentation shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from celosia.rtl.pe.unit import SignStyle
from celosia.scripts.bench_pe import PeRow
from celosia.scripts.console import markdown_table

HEADERS = ("element", "W x A", "naive", "carry", "levels", "DSPs allowed")


def markdown(rows: Iterable[PeRow]) -> str:
    """Return one line for each element and widths of operands, in the order of ``rows``."""
    elements: dict[tuple[str, int, int], list[PeRow]] = {}
    for row in rows:
        elements.setdefault((row.pe, row.weight_bits, row.act_bits), []).append(row)
    return markdown_table(HEADERS, (tuple(_cells(same)) for same in elements.values()))


def _cells(rows: list[PeRow]) -> Iterator[str]:
    """Yield the cells of the ``rows`` of one element: sign styles, DSP blocks or none."""
    yield rows[0].pe
    yield f"{rows[0].weight_bits} x {rows[0].act_bits}"
    # What was allowed DSP blocks and used none is as it is without.
    without = [row for row in rows if row.dsp_allowed and not row.dsp_per_lane]
    without += [row for row in rows if not row.dsp_allowed]
    plain = {row.sign_style: row for row in without}
    for style in SignStyle:
        row = plain.get(style.value)
        yield "-" if row is None else _amount(row)
    carry = plain.get(SignStyle.CARRY.value)
    yield "-" if carry is None else str(carry.logic_levels)
    allowed = [row for row in rows if row.dsp_allowed]
    used = [row for row in allowed if row.dsp_per_lane]
    if used:
        best = min(used, key=lambda row: row.lut_raw_per_lane)
        yield f"{_amount(best)}, {best.dsp_per_lane:.4g}"
    else:
        yield "none used" if allowed else "-"


def _amount(row: PeRow) -> str:
    """Return look-up tables and logic cells."""
    return f"{row.lut_raw_per_lane:.1f} / {row.lc_per_lane:.1f}"

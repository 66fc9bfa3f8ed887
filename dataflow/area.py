"""What an accelerator takes of an FPGA, before synthesis.

:mod:`celosia.dataflow.area_blocks` says what an engine is made of; a table (``area_tables``, made
by ``celosia bench area --table``) how much of a family its parts take, as fitted to what Yosys
makes of blocks and engines. Memories and DSP blocks follow from the geometry by the rules
that Yosys goes by, see :class:`~celosia.dataflow.area_memory.MemoryRule` and
:mod:`celosia.dataflow.dsp`.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.area_blocks import Amount, Part, Terms, blocks
from celosia.dataflow.area_memory import ECP5, MEMORIES, ULTRASCALE_PLUS
from celosia.models.formats import Fixed

FOLDER: Final = Path(__file__).parent / "area_tables"

MEASURED_BITS: Final = 8
"""Bits of the widest fixed-point weights that tables were fitted to."""

FITTED: Final = ("lut", "ff", "dsp")
"""Amounts that have factors in tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaTable:
    """What parts take of a family.

    Attributes
    ----------
    source : str
        Tool and command.
    factors : mapping
        Of each kind of part, for each of :data:`FITTED`, the factors of the terms that matter.
    """

    source: str
    factors: Mapping[str, Mapping[str, Terms]]

    def amount(self, part: Part) -> Amount:
        """Return what one of ``part`` takes.

        A kind that was not measured is taken to be like the one whose name is most like it.
        """
        factors = self.factors[self.measured(part.kind)]
        found = {
            name: max(0.0, sum(part.terms.get(t, 0) * f for t, f in factors.get(name, {}).items()))
            for name in FITTED
        }
        return part.known + Amount(**found | {"dsp": round(found["dsp"])})

    def measured(self, kind: str) -> str:
        """Return the measured kind that is most like ``kind``.

        Its first word is the same, as many others as can be are, and then as many formats but
        for their widths.
        """
        if kind in self.factors:
            return kind
        first = kind.split()[0]
        return max(
            (known for known in self.factors if known.split()[0] == first),
            key=lambda known: (_likeness(kind, known), known),
        )


def _likeness(kind: str, known: str) -> tuple[int, int, int]:
    """Return how alike two names of kinds are: letters of words, words, how many there are."""
    mine, theirs = set(kind.split()), set(known.split())
    letters = [{word.rstrip("0123456789_") for word in words} for words in (mine, theirs)]
    return len(letters[0] & letters[1]), len(mine & theirs), -len(theirs - mine)


@functools.cache
def load_area_table(family: str) -> AreaTable:
    """Return the table of :data:`ULTRASCALE_PLUS` or :data:`ECP5`."""
    document = tomllib.loads((FOLDER / f"{family}.toml").read_text(encoding="utf-8"))
    return AreaTable(source=document.pop("source"), factors=document)


def block_areas(
    accelerator: Accelerator, family: str, table: AreaTable | None = None
) -> dict[str, Amount]:
    """Return what each block of ``accelerator`` takes; parameters as of :func:`estimate_area`."""
    table = table or load_area_table(family)
    found: dict[str, Amount] = {}
    for part in blocks(accelerator, MEMORIES[family]):
        amount = table.amount(part) * part.count
        found[part.block] = found.get(part.block, Amount()) + amount
    return found


def estimate_area(
    accelerator: Accelerator, family: str, table: AreaTable | None = None
) -> dict[str, float]:
    """Return what ``accelerator`` takes: ``lut``, ``ff``, ``dsp`` and ``bram``.

    Parameters
    ----------
    accelerator
        What is built.
    family
        :data:`ULTRASCALE_PLUS` (and 7 series, whose look-up tables and block RAMs are as large) or
        :data:`ECP5`.
    table
        Another than the family's own.
    """
    total = sum(block_areas(accelerator, family, table).values(), start=Amount())
    return {"lut": total.lut, "ff": total.ff, "dsp": total.dsp, "bram": total.bram}


def guessed(accelerator: Accelerator, family: str) -> str:
    """Return of which columns the factors are those of others, in words, or nothing.

    They may be far off then: by a third and more of the look-up tables of the columns.
    """
    table = load_area_table(family)
    parts = blocks(accelerator, MEMORIES[family])
    kinds = [part.kind for part in parts if part.kind.startswith("column ")]
    like = {kind: table.measured(kind) for kind in kinds if kind not in table.factors}
    found = [f"{kind} (taken to be {other})" for kind, other in sorted(like.items())]
    widths = [
        each.format.bits for each in accelerator.array.columns if isinstance(each.format, Fixed)
    ]
    if max(widths, default=0) > MEASURED_BITS:
        found.append(f"columns of {max(widths)}-bit fixed point (measured up to {MEASURED_BITS})")
    return ", ".join(found)


__all__ = [
    "ECP5",
    "MEMORIES",
    "ULTRASCALE_PLUS",
    "Amount",
    "AreaTable",
    "block_areas",
    "estimate_area",
    "guessed",
    "load_area_table",
]

"""What every processing element takes: synthesised in one setting, side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from celosia.fpga.pe import PeSynth, synth_pe
from celosia.models.errors import CelosiaError
from celosia.rtl.verilog import write_verilog
from celosia.scripts.pe_case import PeCase, title_of
from celosia.scripts.pe_cases import pe_cases

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeRow:
    """One row of the table; amounts are those of the whole unit divided by its lanes.

    Attributes
    ----------
    lut_raw_per_lane : float
        LUT1 to LUT6 and LUT6_2 cells.
    lc_per_lane : float
        Yosys's estimate of logic cells, where two small tables share one.
    ff_per_lane, dsp_per_lane : float
        Flip-flops and DSP48E2 blocks.
    logic_levels : int
        Cells on the longest path between registers, each bit of a carry chain being one.
    cycles : float
        Cycles that a lane takes for a product: above 1 where operands are taken part by part.
    proved : bool
        Whether a test proves its lanes, or blocks, for all inputs.
    """

    pe: str
    weight_bits: int
    act_bits: int
    sign_style: str
    dsp_allowed: bool
    lut_raw_per_lane: float
    lc_per_lane: float
    ff_per_lane: float
    dsp_per_lane: float
    logic_levels: int
    cycles: float
    proved: bool

    @property
    def title(self) -> str:
        """That of its case."""
        return title_of(self.pe, self.weight_bits, self.act_bits, self.sign_style, self.dsp_allowed)

    @property
    def products(self) -> tuple[float | None, float | None]:
        """Products a cycle for each look-up table and each DSP block; ``None`` without any."""
        lut, dsp = self.lut_raw_per_lane, self.dsp_per_lane
        each = (1 / (amount * self.cycles) if amount else None for amount in (lut, dsp))
        return next(each), next(each)

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


def select(words: Sequence[str]) -> tuple[PeCase, ...]:
    """Return the registered cases whose title holds every one of ``words``.

    Capital and small letters are the same, and widths may be as in the table, ``4 x 8``.

    Raises :class:`~celosia.models.errors.CelosiaError` when there is none.
    """
    cases = pe_cases()
    chosen = tuple(case for case in cases if all(word.lower() in _sought(case) for word in words))
    if not chosen:
        names = sorted({case.pe for case in cases})
        raise CelosiaError(
            f"no processing element's title holds {' and '.join(map(repr, words))}: titles look "
            f"like {cases[0].title!r}, and the elements are\n" + "\n".join(names)
        )
    return chosen


def _sought(case: PeCase) -> str:
    """Return what words are looked for in, in small letters: the title, with widths both ways."""
    short, spaced = f"w{case.weight_bits}a{case.act_bits}", f"{case.weight_bits} x {case.act_bits}"
    return f"{case.title}\n{case.title.replace(short, spaced)}".lower()


def measure(case: PeCase) -> PeRow:
    """Synthesise one case, or take what was kept of it; raises as :func:`synth_pe`."""
    component = case.build()
    verilog = case.black_boxes + write_verilog(component, primitives=True)
    return _row(case, synth_pe(verilog, component.module_name, dsp_allowed=case.dsp_allowed))


def bench_pe(cases: Sequence[PeCase], report: Report) -> list[PeRow]:
    """Synthesise ``cases``, as many at a time as there are cores; return a row for each.

    Raises
    ------
    MissingToolError
        When Yosys is not installed.
    ToolFailedError
        When Yosys fails.
    """
    rows: list[PeRow] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for case, row in zip(cases, pool.map(measure, cases), strict=True):
                report(case.title, len(rows), len(cases))
                rows.append(row)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return rows


def _row(case: PeCase, synth: PeSynth) -> PeRow:
    return PeRow(
        pe=case.pe,
        weight_bits=case.weight_bits,
        act_bits=case.act_bits,
        sign_style=case.sign_style.value,
        dsp_allowed=case.dsp_allowed,
        lut_raw_per_lane=synth.lut / case.lanes,
        lc_per_lane=synth.lc / case.lanes,
        ff_per_lane=synth.ff / case.lanes,
        dsp_per_lane=synth.dsp / case.lanes,
        logic_levels=synth.levels,
        cycles=case.cycles,
        proved=bool(case.proof),
    )

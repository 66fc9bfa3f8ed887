"""The tables of area: blocks synthesised, and the model held against whole engines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.area import (
    MEMORIES,
    SUM_BITS,
    Amount,
    AreaTable,
    ColumnKind,
    estimate_area,
)
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.dsp import column_units
from celosia.dataflow.presets import preset
from celosia.fpga.devices import Device, Family
from celosia.fpga.yosys import split_modules, synth, synth_verilog
from celosia.models.formats import parse_format
from celosia.models.operations import DISTANCE, MULTIPLY, Operation, shift
from celosia.rtl.column import Column
from celosia.rtl.requant import Requant
from celosia.rtl.scalable.column import ScalableColumn
from celosia.rtl.shared import Shared
from celosia.rtl.verilog import write_verilog
from celosia.scripts.area_cases import checks
from celosia.scripts.explore.targets import area_family, hard_circuit

COMMAND: Final = "celosia bench area"

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_DEPTH: Final = 256
"""Accumulators of the columns that are measured: in block RAM, as they mostly are."""

_SOFT: Final = (
    ("fixed4", 8), ("fixed8", 8), ("sp2_4", 8), ("pot_4", 8), ("fixed4", 4), ("sp2_4", 4),
    ("pot_4", 4), ("fixed2", 8), ("fixed6", 8), ("fixed8", 4),
)  # fmt: skip
"""Weights and activation bits of columns of look-up tables."""

_MAPPED: Final = (("fixed8", 8), ("fixed4", 8), ("fixed4", 4))
"""Those of columns whose products synthesis maps, and of those that share DSP blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A kind of column at one size: one of ``columns``, of ``pixels`` each, with what it shares."""

    weights: str
    activation_bits: int
    circuit: Circuit
    lanes: int
    operation: Operation = MULTIPLY
    pixels: int = 1
    columns: int = 1
    accumulator_bits: int = SUM_BITS

    @property
    def array(self) -> ArrayShape:
        """The array that the columns are in."""
        group = ColumnGroup(
            format=parse_format(self.weights),
            count=self.columns,
            circuit=self.circuit,
            operation=self.operation,
        )
        return ArrayShape(
            columns=(group,),
            lanes=self.lanes,
            pixels=self.pixels,
            accumulator_bits=self.accumulator_bits,
            activation_bits=self.activation_bits,
        )

    @property
    def sums(self) -> int:
        """Dot products of what :meth:`component` is: of columns that share blocks, all."""
        return self.pixels * len(column_units(self.array)[0].positions)

    def component(self) -> Shared:
        """Return the column, or those that share DSP blocks."""
        array, tiny = self.array, preset("tiny")
        buffers = replace(tiny.buffers, accumulators=_DEPTH)
        engine = replace(tiny, array=array, post_lanes=1, buffers=buffers)
        kind = Column if array.scalable is None else ScalableColumn
        return kind.of(engine, column_units(array)[0])


def _pairs(device: Device) -> Iterator[tuple[_Case, _Case]]:
    """Yield each kind of column at two sizes, the second twice as many lanes."""
    kinds = [(*soft, Circuit.LUTS, MULTIPLY) for soft in _SOFT]
    kinds += [(*mapped, Circuit.LANES, MULTIPLY) for mapped in _MAPPED]
    kinds += [("fixed8", 8, Circuit.LANES, DISTANCE), ("pot_4", 8, Circuit.LANES, shift(6))]
    cases = [
        _Case(weights=weights, activation_bits=bits, circuit=circuit, lanes=8, operation=operation)
        for weights, bits, circuit, operation in kinds
    ]
    cases += [
        _Case(weights="fixed8", activation_bits=8, circuit=circuit, lanes=16)
        for circuit in (Circuit.TILE, Circuit.FUSION, Circuit.SERIAL)
    ]
    if device.family is Family.ULTRASCALE_PLUS:
        cases += [
            _Case(weights=w, activation_bits=b, circuit=Circuit.DSP, lanes=8, pixels=2, columns=2)
            for w, b in _MAPPED
        ]
    yield from ((case, replace(case, lanes=2 * case.lanes)) for case in cases)


def _together(parts: list[Shared]) -> str:
    """Return Verilog whose module ``everything`` holds ``parts``, renamed apart."""
    texts, tops = [], []
    for number, part in enumerate(parts):
        text = write_verilog(part, primitives=True)
        for name in sorted(split_modules(text), key=len, reverse=True):
            text = re.sub(rf"\b{re.escape(name)}\b", f"part_{number}_{name}", text)
        texts.append(text)
        tops.append(f"  (* keep *) part_{number}_{part.module_name} part_{number}();")
    return "\n".join([*texts, "module everything();", *tops, "endmodule"]) + "\n"


def synthesised(parts: list[Shared], device: Device) -> list[Amount]:
    """Return what each of ``parts`` takes, by one run of Yosys; raises as :func:`synth_verilog`."""
    report = synth_verilog(_together(parts), "everything", device)
    found = {block.name: block.inclusive for block in report.blocks}
    named = [found[f"part_{n}_{part.module_name}"] for n, part in enumerate(parts)]
    return [Amount(lut=each.lut, ff=each.ff, dsp=each.dsp) for each in named]


def measure(device: Device, report: Report) -> AreaTable:
    """Return the table of the device's family.

    Raises
    ------
    MissingToolError, ToolFailedError
        As :func:`celosia.fpga.yosys.synth`.
    """
    pairs = list(_pairs(device))
    plain = next(small for small, _ in pairs if small.weights == "sp2_4")
    wide = replace(plain, accumulator_bits=SUM_BITS + 8)
    lanes = [Requant(accumulator_bits=bits, code_bits=9) for bits in (SUM_BITS, SUM_BITS + 8)]
    engines = _engines()
    report("columns and post lanes", 0, 1 + len(engines))
    parts = [case.component() for pair in pairs for case in pair]
    amounts = synthesised([*parts, wide.component(), *lanes], device)
    post_lane, post_wide = amounts[-2:]
    found = dict(zip((case for pair in pairs for case in pair), amounts, strict=False))
    rule = MEMORIES[area_family(device)]
    _, lut, ff = rule.made(_DEPTH, SUM_BITS)
    kinds = []
    for small, large in pairs:
        first, second = found[small], found[large]
        product = (second + first * -1) * (1 / (small.lanes * small.sums))
        memory = Amount(lut=2 * lut, ff=2 * ff)
        pixel = first * (1 / small.sums) + product * -small.lanes + memory * -1
        kinds.append(
            ColumnKind(
                weights=small.weights,
                operation=small.operation.name,
                activation_bits=small.activation_bits,
                circuit=small.circuit.value,
                bits=parse_format(small.weights).bits,
                product=_rounded(product),
                pixel=_rounded(pixel),
            )
        )
    table = AreaTable(
        source=f"{COMMAND} --device {device.name}",
        control=Amount(),
        bus_bit=Amount(),
        post_lane=post_lane,
        post_sum_bit=_rounded((post_wide + post_lane * -1) * (1 / 8)),
        sum_bit=_rounded((amounts[-3] + found[plain] * -1) * (1 / 8)),
        columns=tuple(kinds),
    )
    return _with_control(table, device, engines, report)


def _engines() -> list[Accelerator]:
    """Return the engines that what is the same in all is taken from."""
    small = preset("small")
    wide = replace(small, name="small_wide", bus=replace(small.bus, data_bits=128))
    return [preset("tiny"), small, wide]


def _with_control(
    table: AreaTable, device: Device, engines: list[Accelerator], report: Report
) -> AreaTable:
    """Return ``table`` with what is left of whole engines, as a line over the bits of the port."""
    left = []
    for number, engine in enumerate(engines):
        report(engine.name, 1 + number, 1 + len(engines))
        whole = synth(engine, device).total
        known = estimate_area(engine, area_family(device), table)
        left.append([whole.lut - known["lut"], whole.ff - known["ff"], whole.dsp - known["dsp"]])
    bits = np.array([[1.0, engine.bus.data_bits] for engine in engines])
    (lut, ff, dsp), (lut_bit, ff_bit, _) = np.linalg.lstsq(bits, np.array(left))[0]
    return replace(
        table,
        control=_rounded(Amount(lut=lut, ff=ff, dsp=round(dsp))),
        bus_bit=_rounded(Amount(lut=lut_bit, ff=ff_bit)),
    )


def _rounded(amount: Amount) -> Amount:
    return Amount(lut=round(amount.lut, 2), ff=round(amount.ff, 2), dsp=round(amount.dsp, 2))


def dump_area_table(table: AreaTable) -> str:
    """Return the TOML text of ``table``, which :func:`load_area_table` reads."""
    lines = [f'source = "{table.source}"']
    for name in ("control", "bus_bit", "post_lane", "post_sum_bit", "sum_bit"):
        lines.append(f"{name} = {_inline(getattr(table, name))}")
    for kind in table.columns:
        lines += [
            "",
            "[[columns]]",
            f'weights = "{kind.weights}"',
            f'operation = "{kind.operation}"',
            f"activation_bits = {kind.activation_bits}",
            f'circuit = "{kind.circuit}"',
            f"bits = {kind.bits}",
            f"product = {_inline(kind.product)}",
            f"pixel = {_inline(kind.pixel)}",
        ]
    return "\n".join(lines) + "\n"


def _inline(amount: Amount) -> str:
    return f"{{ lut = {amount.lut:g}, ff = {amount.ff:g}, dsp = {amount.dsp:g} }}"


def compare(device: Device, count: int, report: Report) -> list[dict[str, Any]]:
    """Return, for ``count`` engines at random, what the model says and what synthesis does."""
    rows = []
    for number, engine in enumerate(checks(hard_circuit(device), count)):
        report(engine.name, number, count)
        whole = synth(engine, device).total.as_dict()
        model = estimate_area(engine, area_family(device))
        rows.append(
            {"accelerator": engine.name, "products": engine.array.products}
            | {name: {"model": amount, "synthesis": whole[name]} for name, amount in model.items()}
        )
    return rows

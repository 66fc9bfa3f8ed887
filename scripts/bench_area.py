"""The tables of area: blocks synthesised, and the model held against whole engines."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.area import FITTED, MEMORIES, ULTRASCALE_PLUS, AreaTable, load_area_table
from celosia.dataflow.area_blocks import Amount, column_part
from celosia.dataflow.dsp import column_units
from celosia.fpga.devices import Device
from celosia.fpga.yosys import split_modules, synth, synth_verilog
from celosia.rtl.shared import Shared
from celosia.rtl.verilog import write_verilog
from celosia.scripts.area_cases import ColumnKind, checks, columns, frames, kinds
from celosia.scripts.area_fit import fit
from celosia.scripts.area_samples import Sample, amount_of, column_of, samples
from celosia.scripts.explore.targets import area_family, hard_circuit

COMMAND: Final = "celosia bench area"

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

WHOLE: Final = "engine"
"""What the row of all blocks together is called."""


def together(parts: list[Shared]) -> str:
    """Return Verilog whose module ``everything`` holds ``parts``, renamed apart."""
    texts, tops = [], []
    for number, part in enumerate(parts):
        text = write_verilog(part, primitives=True)
        for name in sorted(split_modules(text), key=len, reverse=True):
            text = re.sub(rf"\b{re.escape(name)}\b", f"part_{number}_{name}", text)
        texts.append(text)
        tops.append(f"  (* keep *) part_{number}_{part.module_name} part_{number}();")
    return "\n".join([*texts, "module everything();", *tops, "endmodule"]) + "\n"


def column_samples(kind: ColumnKind, device: Device) -> list[Sample]:
    """Return columns of ``kind`` at each of their sizes, as one run of Yosys makes them."""
    engines = columns(kind)
    parts = [column_of(engine, 0) for engine in engines]
    report = synth_verilog(together(list(parts)), "everything", device)
    found = {block.name: block.inclusive for block in report.blocks}
    rule, rows = MEMORIES[area_family(device)], []
    for number, (engine, part) in enumerate(zip(engines, parts, strict=True)):
        (group,) = engine.array.columns
        units = len(column_units(engine.array)[0].positions)
        model = column_part(engine.array, group, units, engine, rule)
        amount = amount_of(found[f"part_{number}_{part.module_name}"])
        rows.append(Sample(part=model, amount=amount))
    return rows


def measure(device: Device, report: Report) -> AreaTable:
    """Return the table of the device's family.

    Raises
    ------
    MissingToolError, ToolFailedError
        As :func:`celosia.fpga.yosys.synth`.
    """
    engines, every = list(frames()), kinds(hard_circuit(device))
    total, rule = len(engines) + len(every), MEMORIES[area_family(device)]
    found: list[Sample] = []
    for number, engine in enumerate(engines):
        report(engine.name, number, total)
        found += samples(engine, synth(engine, device), rule)
    for number, kind in enumerate(every):
        report(f"columns {kind.weights} {kind.circuit.value}", len(engines) + number, total)
        found += column_samples(kind, device)
    family = area_family(device)
    prior = None if family == ULTRASCALE_PLUS else load_area_table(ULTRASCALE_PLUS)
    return fit(found, f"{COMMAND} --device {device.name}", prior)


def rows_of(engine: Accelerator, device: Device, *, held_out: bool) -> list[dict[str, Any]]:
    """Return what the model and what synthesis says of each block of ``engine``, then of it."""
    report, family = synth(engine, device), area_family(device)
    found: dict[str, list[Amount]] = {}
    for sample in samples(engine, report, MEMORIES[family]):
        model = load_area_table(family).amount(sample.part)
        pair = found.setdefault(sample.part.block, [Amount(), Amount()])
        for index, amount in enumerate((model, sample.amount)):
            pair[index] += amount * sample.part.count
    whole = sum((model for model, _ in found.values()), start=Amount())
    found[WHOLE] = [whole, amount_of(report.total)]
    half = 1 if family == ULTRASCALE_PLUS else 2  # ECP5's blocks have 18 Kbit
    return [
        {"accelerator": engine.name, "block": block}
        | {
            f"{name}_{who}": round(value, 1)
            for name, field, size in (*((n, n, 1) for n in FITTED), ("bram36", "bram", half))
            for who, value in (
                ("model", getattr(model, field) / size),
                ("yosys", getattr(made, field) / size),
            )
        }
        | {"held_out": held_out}
        for block, (model, made) in found.items()
    ]


def compare(device: Device, count: int, report: Report) -> list[dict[str, Any]]:
    """Return :func:`rows_of` one engine that the tables were made from and ``count`` others."""
    engines = [next(frames()), *checks(hard_circuit(device), count)]
    rows: list[dict[str, Any]] = []
    for number, engine in enumerate(engines):
        report(engine.name, number, len(engines))
        rows += rows_of(engine, device, held_out=number > 0)
    return rows


def error(row: dict[str, Any], name: str) -> float:
    """Return by what share of what synthesis says the model is above or below it."""
    made = row[f"{name}_yosys"]
    return (row[f"{name}_model"] - made) / made if made else 0.0

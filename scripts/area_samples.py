"""What synthesis makes of each part of an engine: the amounts that the model of area is held to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from amaranth.hdl import Fragment

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.area_blocks import Amount, Part, alike, blocks
from celosia.dataflow.area_memory import MemoryRule
from celosia.dataflow.dsp import column_units
from celosia.fpga.devices import Resources
from celosia.fpga.yosys import SynthReport
from celosia.rtl.column import Column
from celosia.rtl.scalable.column import ScalableColumn

Named = Mapping[str, tuple[int, Amount]]
"""Of each module how often it is instantiated, and what one takes with what it holds."""

_WHOLE = {
    "shell": "shell",
    "read_port": "read_port",
    "stripe": r"stripe_\w+",
    "load": "load",
    "store": "store",
    "sequencer": "sequencer",
    "compute": "compute",
    "post": "post",
    "array": "array",
    "requant": r"requant_\w+",
    "lookup": r"lookup_\w+",
    "quantiser": r"vector_quantiser_\w+",
    "window": r"column_window_\w+",
    "lines": "lines",
}
"""Names of the modules of parts by the first word of their kind."""

_WITHIN = {"post": ("requant", "lookup", "quantiser"), "array": ("window", "lines")}
"""Parts that lie in the modules of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A part and what synthesis makes of one of it."""

    part: Part
    amount: Amount


def amount_of(resources: Resources) -> Amount:
    """Return the amounts that the model knows."""
    return Amount(lut=resources.lut, ff=resources.ff, dsp=resources.dsp, bram=resources.bram)


def column_of(accelerator: Accelerator, index: int) -> Column:
    """Return the component of column unit ``index``."""
    kind = Column if accelerator.array.scalable is None else ScalableColumn
    return kind.of(accelerator, column_units(accelerator.array)[index])


def column_name(accelerator: Accelerator, index: int) -> str:
    """Return the name of the module of column unit ``index``."""
    column = column_of(accelerator, index)
    Fragment.get(column, None)  # of one that nothing elaborates, Amaranth would complain
    return column.module_name


def samples(accelerator: Accelerator, report: SynthReport, rule: MemoryRule) -> Iterator[Sample]:
    """Yield every part of ``accelerator`` with what ``report`` says of it."""
    named = {block.name: (block.count, amount_of(block.inclusive)) for block in report.blocks}
    parts = list(blocks(accelerator, rule))
    units = (places[0] for places in alike(accelerator.array).values())
    columns = [part for part in parts if part.kind.startswith("column ")]
    names = {id(part): column_name(accelerator, next(units)) for part in columns}
    for part in parts:
        if id(part) in names:
            yield Sample(part=part, amount=named[names[id(part)]][1])
        else:
            yield Sample(part=part, amount=_amount(part, named, names.values()))


def _amount(part: Part, named: Named, columns: Iterable[str]) -> Amount:
    """Return what one of a ``part`` that is no column takes."""
    word = part.kind.split()[0]
    if word == "queues":
        return _all(named, r"unit_queue_\w+|tokens")
    if word in ("buffer", "kept_buffer"):
        return _all(named, part.block)
    amount = _one(named, _WHOLE[word])
    for inside in _WITHIN.get(word, ()):
        amount += _all(named, _WHOLE[inside]) * -1
    if word == "array":
        for name in columns:
            amount += named[name][1] * -named[name][0]
    return amount


def _matching(named: Named, pattern: str) -> Iterator[tuple[int, Amount]]:
    matches: Callable[[str], object] = re.compile(pattern).fullmatch
    return (found for name, found in named.items() if matches(name))


def _all(named: Named, pattern: str) -> Amount:
    """Return what all instances of the modules take whose name is as ``pattern``."""
    return sum((each * count for count, each in _matching(named, pattern)), start=Amount())


def _one(named: Named, pattern: str) -> Amount:
    """Return what one instance of the module takes whose name is as ``pattern``."""
    found = [each for _, each in _matching(named, pattern)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} modules are called {pattern}, one must be")
    return found[0]

"""Energy from access counts, by a table of what single accesses and operations cost.

Tables are TOML files (``dataflow/energy_tables`` holds those that come with the package), every
number with its source. Counts are those of :mod:`celosia.dataflow.accesses`, which are the
hardware's counters, so two mappings of one network are compared on what the hardware does.

- A product costs the multiplier of its widths: that of 8 x 8 bits times the product of the widths
  over 64. A shift-and-add product (SP2, powers of two) costs one addition for each term.
- Additions cost by the bit: a product's way through the adder tree, and the accumulator.
- Memory costs by the bit and grows with capacity: between the table's sizes, and beyond the
  smallest and the largest, along a line in logarithms.
- Nothing is counted for clocks, control, wires between blocks and leakage.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import ColumnGroup
from celosia.dataflow.program import Counter
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.operations import Kind

FOLDER = Path(__file__).parent / "energy_tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyTable:
    """What one event costs, in pJ.

    Attributes
    ----------
    name, technology, source
        What it is called, of what it holds, and where its numbers are from.
    multiply_8x8
        One product of two 8-bit integers.
    add_bit
        One bit of an addition.
    sram_bit
        Pairs of a capacity in bytes and the energy of one bit read or written, capacities rising.
    dram_bit
        One bit read from or written to memory.
    """

    name: str
    technology: str
    source: str
    multiply_8x8: float
    add_bit: float
    sram_bit: tuple[tuple[float, float], ...]
    dram_bit: float

    def __post_init__(self) -> None:
        for name in ("name", "technology", "source"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise TypeError(f"{name} must be a text, not {getattr(self, name)!r}")
        for name in ("multiply_8x8", "add_bit", "dram_bit"):
            _check_energy(name, getattr(self, name))
        if len(self.sram_bit) < 2:
            raise ValueError(f"sram_bit must have two sizes at least, not {self.sram_bit!r}")
        for pair in self.sram_bit:
            for value in pair:
                _check_energy("sram_bit", value)
        sizes = [size for size, _ in self.sram_bit]
        if sizes != sorted(set(sizes)):
            raise ValueError(f"sram_bit must have rising capacities, not {sizes!r}")

    def memory_bit(self, capacity: float) -> float:
        """Return the pJ of one bit of a memory of ``capacity`` bytes, above 0."""
        points = [(math.log(size), math.log(energy)) for size, energy in self.sram_bit]
        at = math.log(capacity)
        pairs = list(itertools.pairwise(points))
        left, right = next((p for p in pairs if at <= p[1][0]), pairs[-1])
        slope = (right[1] - left[1]) / (right[0] - left[0])
        return math.exp(left[1] + slope * (at - left[0]))


def _check_energy(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be above 0, not {value!r}")


def parse_energy_table(text: str, where: str) -> EnergyTable:
    """Return the table in the TOML ``text``; :class:`CelosiaError` names ``where`` and the key."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CelosiaError(f"{where}: not a TOML file: {error}") from error
    known = [field.name for field in fields(EnergyTable)]
    if set(document) != set(known):
        raise CelosiaError(f"{where}: must have the keys {', '.join(known)}")
    try:
        document["sram_bit"] = tuple((size, energy) for size, energy in document["sram_bit"])
        return EnergyTable(**document)
    except (TypeError, ValueError) as error:
        raise CelosiaError(f"{where}: {error}") from error


def load_energy_table(name: str) -> EnergyTable:
    """Return the table of the package called ``name``, or that of the TOML file ``name``.

    Raises :class:`CelosiaError` if there is none, or if the file is not one.
    """
    own = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
    path = own.get(name, Path(name))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CelosiaError(
            f"cannot read energy table {name}: {error}; the package's own are {', '.join(own)}"
        ) from error
    return parse_energy_table(text, str(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Where the energy of a program goes, in pJ."""

    products: float
    sums: float
    activations: float
    weights: float
    accumulators: float
    post: float
    dram: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(float(getattr(self, field.name)) for field in fields(self))


@cache
def event_energies(accelerator: Accelerator, table: EnergyTable) -> dict[Counter, Energy]:
    """Return what one count of each counter costs on ``accelerator``; 0 where it is left out."""
    array, buffers = accelerator.array, accelerator.buffers
    word = accelerator.activation_word_bits
    sum_bits = array.accumulator_bits

    def memory(depth: int, width: int, moved: int) -> float:
        return moved * table.memory_bit(depth * width / 8)

    activation = memory(buffers.activations, word, word)
    weight = memory(buffers.weights, accelerator.weight_word_bits, accelerator.weight_word_bits)
    # Every column and pixel lane has an accumulator memory of its own.
    accumulator = memory(buffers.accumulators, sum_bits, sum_bits)
    sums = array.column_count * array.pixels
    constants = accelerator.constant_word_bits
    output = memory(buffers.outputs, word, word)
    group = output * accelerator.post_lanes / array.lanes
    beat = accelerator.bus.data_bits
    products, additions = _step(accelerator, table)
    none = dict.fromkeys((field.name for field in fields(Energy)), 0.0)

    def part(**parts: float) -> Energy:
        return Energy(**none | parts)

    return {
        Counter.COMPUTE_STEPS: part(products=products, sums=additions),
        Counter.POST_STEPS: part(post=accelerator.post_lanes * _requantise(accelerator, table)),
        Counter.ACTIVATION_READS: part(activations=activation * array.pixels),
        Counter.WEIGHT_READS: part(weights=weight),
        Counter.ACCUMULATOR_READS: part(accumulators=accumulator * sums),
        Counter.ACCUMULATOR_WRITES: part(accumulators=accumulator * sums),
        Counter.ACCUMULATOR_DRAINS: part(accumulators=accumulator * accelerator.post_lanes),
        Counter.CONSTANT_READS: part(post=memory(buffers.constants, constants, constants)),
        Counter.RESIDUAL_READS: part(post=memory(buffers.residuals, word, word)),
        Counter.OUTPUT_WRITES: part(post=group),
        Counter.OUTPUT_READS: part(post=output),
        # What is read is written into a buffer: taken for that of activations.
        Counter.READ_BEATS: part(dram=beat * table.dram_bit, activations=activation * beat / word),
        Counter.WRITE_BEATS: part(dram=beat * table.dram_bit),
    }


def _step(accelerator: Accelerator, table: EnergyTable) -> tuple[float, float]:
    """Return the energy of all products of one step, and of adding them up."""
    array = accelerator.array
    products = additions = 0.0
    for group in array.columns:
        lanes = group.count * array.lanes * array.pixels
        width = group.format.bits + array.activation_bits
        products += lanes * _product(group, array.activation_bits, table)
        additions += lanes * width * table.add_bit
        additions += group.count * array.pixels * array.accumulator_bits * table.add_bit
    return products, additions


def _product(group: ColumnGroup, activation_bits: int, table: EnergyTable) -> float:
    width = group.format.bits + activation_bits
    if group.operation.kind is Kind.MULTIPLY and isinstance(group.format, Fixed):
        return table.multiply_8x8 * group.format.bits * activation_bits / 64
    terms = 2 if group.operation.kind is Kind.MULTIPLY else 1
    return terms * width * table.add_bit


def _requantise(accelerator: Accelerator, table: EnergyTable) -> float:
    """Return the energy of one value's bias, multiplication by 18 bits and residual."""
    bits = accelerator.array.accumulator_bits
    multiplier = table.multiply_8x8 * bits * 18 / 64
    return multiplier + 3 * bits * table.add_bit


def energy(counters: dict[Counter, int], accelerator: Accelerator, table: EnergyTable) -> Energy:
    """Return the energy of a run or a prediction with ``counters``."""
    events = event_energies(accelerator, table)
    return Energy(
        **{
            field.name: sum(
                counters[counter] * getattr(each, field.name) for counter, each in events.items()
            )
            for field in fields(Energy)
        }
    )

"""The blocks that an engine is made of, and what each one's area depends on.

A block is cut into :class:`Part` of a ``kind``. What a part takes is ``known`` where rules say it
(memories, DSP blocks that products share), and else a linear function of ``terms``: sums of bits
of adders, choices and registers that its RTL has. ``area_tables`` hold the functions' factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from celosia.dataflow.accelerator import ROW_ENTRIES, Accelerator
from celosia.dataflow.area_memory import MemoryRule, choice_luts
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.descriptors import DESCRIPTOR_BYTES
from celosia.dataflow.dsp import DspPacking, Schedule, column_units, dsp_packing
from celosia.dataflow.memory_kinds import MemoryKind, ultra_blocks
from celosia.dataflow.microarchitecture import (
    column_stages,
    load_targets,
    post_latency,
    tree_levels,
    word_beats,
)
from celosia.models.formats import Esb, Fixed, Format, Pot, Sp2
from celosia.models.operations import DISTANCE, MULTIPLY

Terms = Mapping[str, float]
"""What an amount is linear in, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Look-up tables, registers, DSP blocks, block RAMs of the family's size, and UltraRAMs."""

    lut: float = 0.0
    ff: float = 0.0
    dsp: float = 0.0
    bram: float = 0.0
    uram: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(**{n: getattr(self, n) + getattr(other, n) for n in AMOUNTS})

    def __mul__(self, count: float) -> Amount:
        return Amount(**{n: getattr(self, n) * count for n in AMOUNTS})


AMOUNTS = tuple(entry.name for entry in fields(Amount))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """``count`` equal parts of a ``block``.

    Attributes
    ----------
    block : str
        What it is counted with.
    kind : str
        Of the function that says what it takes.
    terms : mapping
        What look-up tables, registers and DSP blocks are linear in.
    known : Amount
        What it takes besides.
    """

    block: str
    kind: str
    terms: Terms
    count: int = 1
    known: Amount = field(default=Amount())


def blocks(accelerator: Accelerator, rule: MemoryRule) -> Iterator[Part]:
    """Yield the parts of every block of ``accelerator`` on a family with memories of ``rule``."""
    yield from _memory_side(accelerator)
    yield from _units(accelerator)
    yield from _buffers(accelerator, rule)
    yield from _array(accelerator, rule)
    yield from _post_lanes(accelerator, rule)


def _memory_side(accelerator: Accelerator) -> Iterator[Part]:
    bus, buffers = accelerator.bus, accelerator.buffers
    address, stripes = bus.address_bits, bus.stripes
    beats = accelerator.beats(accelerator.activation_word_bits) * bus.data_bits
    most = max(word_beats(target, accelerator) for target in load_targets(accelerator))
    run = (65535 * most).bit_length()
    keeps, tables = int(buffers.keeps), int(accelerator.tables is not None)
    yield Part(
        block="shell", kind="shell",
        terms={"one": 1, "address": address, "stripe": stripes * address},
    )  # fmt: skip
    yield Part(
        block="read_port", kind="read_port",
        terms={
            "one": 1, "address": address, "data": bus.data_bits, "outstanding": bus.outstanding,
        },
    )  # fmt: skip
    if stripes:
        yield Part(
            block="stripe", kind="stripe",
            terms={"port": stripes, "address": stripes * address, "data": bus.data_bits},
        )  # fmt: skip
    yield Part(
        block="load", kind="load",
        terms={
            "one": 1, "address": address, "data": bus.data_bits, "run": run, "table": tables,
            "words": int(most > 1),
        },
    )  # fmt: skip
    yield Part(
        block="store", kind="store",
        terms={
            "one": 1, "address": address, "word": beats, "data": bus.data_bits, "run": run,
            "keep": keeps, "keep_word": keeps * beats, "outstanding": bus.outstanding,
        },
    )  # fmt: skip


def _units(accelerator: Accelerator) -> Iterator[Part]:
    array, bus = accelerator.array, accelerator.bus
    sliding, tables = int(array.depthwise is not None), int(accelerator.tables is not None)
    address = (accelerator.buffers.accumulators - 1).bit_length()
    scalable = "" if array.scalable is None else array.scalable.value
    yield Part(
        block="sequencer", kind="sequencer",
        terms={
            "one": 1, "address": bus.address_bits, "sliding": sliding, "table": tables,
            "scalable": int(bool(scalable)),
            # A descriptor is put together of beats: all but the last are held.
            "held": DESCRIPTOR_BYTES * 8 - bus.data_bits, "data": bus.data_bits,
        },
    )  # fmt: skip
    yield Part(
        block="queues", kind="queues",
        terms={
            "one": 1, "keep": int(accelerator.buffers.keeps), "sliding": sliding, "table": tables,
        },
    )  # fmt: skip
    yield Part(
        block="compute", kind=f"compute {scalable}".strip(),
        terms={
            "one": 1, "address": address, "sliding": sliding,
            "stage": address * column_stages(array),
        },
    )  # fmt: skip
    lanes, groups = accelerator.post_lanes, array.lanes // accelerator.post_lanes
    word = lanes * array.activation_bits
    yield Part(
        block="post", kind="post scaled" if array.activation_scale_bits else "post",
        terms={
            "one": 1, "address": address, "constant": accelerator.constant_word_bits,
            "code": lanes * accelerator.requant_bits, "stage": post_latency(accelerator),
            "residual": word * choice_luts(groups, wide=True), "table": tables,
        },
    )  # fmt: skip


def _buffers(accelerator: Accelerator, rule: MemoryRule) -> Iterator[Part]:
    buffers, array, data = accelerator.buffers, accelerator.array, accelerator.bus.data_bits
    word, banks = accelerator.activation_word_bits, buffers.activation_banks
    for name, depth, bits, lanes in (
        ("activations", buffers.activations // banks, word, array.pixels),
        ("weights", buffers.weights, accelerator.weight_word_bits, 1),
        ("constants", buffers.constants, accelerator.constant_word_bits, 1),
        ("residuals", buffers.residuals, word, 1),
    ):
        mine = banks if name == "activations" else 1
        full, rest = divmod(bits, data)
        kind = getattr(accelerator.memories, name)
        known = memory(rule, depth, data, kind) * (full * lanes * mine)
        if rest:
            known += memory(rule, depth, rest, kind) * (lanes * mine)
        several = int(mine > 1)
        beats = lanes * (full + bool(rest)) * mine
        yield Part(
            block=f"{name}_buffer", kind="kept_buffer" if several else "buffer", known=known,
            terms={
                # Of two banks: whose word is read, and whether what is written is a load's.
                "one": 1, "memory": beats,
                "choice": several * (lanes * bits + mine * min(bits, data)),
            },
        )  # fmt: skip
    groups = array.lanes // accelerator.post_lanes
    yield Part(
        block="outputs_buffer", kind="buffer", terms={"one": 1, "memory": groups},
        known=memory(rule, buffers.outputs, word // groups, accelerator.memories.outputs) * groups,
    )  # fmt: skip


def memory(rule: MemoryRule, depth: int, bits: int, kind: MemoryKind = MemoryKind.AUTO) -> Amount:
    """Return what a memory of ``depth`` rows of ``bits`` bits takes."""
    bram, lut, ff = rule.made(depth, bits, kind)
    uram = ultra_blocks(depth, bits) if kind is MemoryKind.ULTRA else 0
    return Amount(lut=lut, ff=ff, bram=bram, uram=uram)


def _array(accelerator: Accelerator, rule: MemoryRule) -> Iterator[Part]:
    array, lanes = accelerator.array, accelerator.post_lanes
    operands = array.pixels * array.lanes
    groups = array.column_count // lanes
    drained = lanes * array.accumulator_bits
    scaled = array.activation_scale_bits * array.pixels
    kind = "array scaled" if scaled else "array"
    passes = 0 if array.scalable is None else array.pixels * array.lanes
    yield Part(
        block="array", kind=kind if array.scalable is None else f"array {array.scalable.value}",
        terms={
            "one": 1, "operand": operands, "operand_bit": operands * (array.activation_bits + 1),
            "drained": drained, "choice": drained * choice_luts(groups, wide=True),
            "group": 0 if groups < 2 else array.column_count, "scale": scaled, "part": passes,
        },
    )  # fmt: skip
    yield from _windows(array, rule)
    for (group, columns), places in alike(array).items():
        part = column_part(array, group, columns, accelerator, rule)
        yield replace(part, count=len(places))


def alike(array: ArrayShape) -> dict[tuple[ColumnGroup, int], list[int]]:
    """Return the numbers of the column units of each group and number of columns together."""
    found: dict[tuple[ColumnGroup, int], list[int]] = {}
    for number, unit in enumerate(column_units(array)):
        found.setdefault((unit.group, len(unit.positions)), []).append(number)
    return found


def _windows(array: ArrayShape, rule: MemoryRule) -> Iterator[Part]:
    windows = array.depthwise
    if windows is None:
        return
    channels = min(array.column_count, array.lanes)
    held = windows.positions * (array.activation_bits + 1)
    yield Part(
        block="windows", kind="window", count=array.column_count * array.pixels,
        terms={"position": windows.positions, "bit": held, "row": windows.rows},
    )  # fmt: skip
    line = channels * array.activation_bits
    above = windows.rows - 1
    known = memory(rule, windows.width, above * line) if above else Amount()
    turned = line * choice_luts(len(array.first_lanes), wide=True)
    yield Part(
        block="windows", kind="lines", count=array.pixels, known=known,
        terms={"one": 1, "turned": turned, "column": (windows.width - 1).bit_length()},
    )  # fmt: skip


def _post_lanes(accelerator: Accelerator, rule: MemoryRule) -> Iterator[Part]:
    array, lanes, tables = accelerator.array, accelerator.post_lanes, accelerator.tables
    bits = array.accumulator_bits
    yield Part(
        block="post_lanes", kind="requant", count=lanes,
        terms={
            "one": 1, "accumulator": bits, "code": accelerator.requant_bits,
            # The bits above the 17th of a biased sum are multiplied apart: a sign alone needs no
            # DSP block, more than 18 bits two of ECP5's.
            "high": int(bits > 16), "wide": int(bits > 34),
        },
    )  # fmt: skip
    if tables is not None:
        yield Part(
            block="post_lanes", kind="lookup", count=lanes,
            known=memory(rule, tables.rows * tables.count, accelerator.table_word_bits),
            terms={
                "one": 1, "choice": array.activation_bits * choice_luts(ROW_ENTRIES, wide=True),
                "code": accelerator.requant_bits,
            },
        )  # fmt: skip
    if array.activation_scale_bits and array.scaling is not None:
        yield Part(
            block="post_lanes", kind=f"quantiser {array.scaling.scale.name}",
            count=lanes // array.scaling.vector,
            terms={"one": 1, "lane": array.scaling.vector, "lane_bit": array.scaling.vector
                   * accelerator.requant_bits},
        )  # fmt: skip


def column_kind(array: ArrayShape, group: ColumnGroup) -> str:
    """Return the kind of a column's part: fixed point of any width, else each format its own.

    Lanes of SP2 formats of wide fields are the same in either circuit.
    """
    wide = isinstance(group.format, Sp2) and stands_alone(group)
    circuit = Circuit.LUTS if wide else group.circuit
    operation = "" if group.operation == MULTIPLY else f"{group.operation.kind.value} "
    name = "fixed" if isinstance(group.format, Fixed) else group.format.name
    scaling = array.scaling
    scaled = "" if scaling is None else f" {scaling.scale.name}"
    both = " both" if array.activation_scale_bits else ""
    return f"column {operation}{name} {circuit.value}{scaled}{both}"


def column_part(
    array: ArrayShape,
    group: ColumnGroup,
    columns: int,
    accelerator: Accelerator,
    rule: MemoryRule,
) -> Part:
    """Return ``columns`` columns of ``group`` that are made together, with their accumulators."""
    sums, bits = columns * array.pixels, array.accumulator_bits
    rows = memory(rule, accelerator.buffers.accumulators, bits) * (2 * sums)
    terms = _sums(array, columns) | {
        "choice": columns * bits * choice_luts(array.pixels, wide=True),
    }
    products = sums * array.lanes
    if group.circuit is Circuit.DSP and group.operation == MULTIPLY:
        packing = _packing(array, group, columns)
        rows += Amount(dsp=packing.dsps(lanes=array.lanes, pixels=array.pixels))
        terms |= _chains(array, group, packing, sums)
    elif group.circuit.scalable:
        terms |= {"product": products, "held": array.lanes * group.format.bits}
    else:
        terms |= _products(array, group, products)
    return Part(
        block=f"columns {group.format.name} {group.circuit.value}"
        + ("" if group.operation == MULTIPLY else f" {group.operation.name}"),
        kind=column_kind(array, group), terms=terms, known=rows,
    )  # fmt: skip


def _sums(array: ArrayShape, columns: int) -> dict[str, float]:
    """Return what accumulation costs."""
    sums = columns * array.pixels
    return {"sum": sums, "sum_bit": sums * array.accumulator_bits}


def term_bits(weight_format: Format, array: ArrayShape, group: ColumnGroup) -> int:
    """Return the bits of a product or other term, signed."""
    weight = max(-weight_format.low, weight_format.high)
    activation = 1 << array.operand_bits - 1
    if group.operation == DISTANCE:
        return (weight + activation).bit_length() + 1
    return (weight * activation >> group.operation.dropped).bit_length() + 1


def _tree(count: int, width: int, *, alone: bool) -> tuple[float, float, float]:
    """Return the bits of the adders of a tree of ``count`` terms, of its registers, and of sums.

    The last are those that synthesis leaves in two parts, sums and carries, as more than two
    terms are added in one stage.
    """
    adders = registers = saved = 0
    for levels in tree_levels(count, alone=alone):
        saved += (count - 2 * -(-count // (1 << levels))) * width if levels > 1 else 0
        for _ in range(levels):
            adders += (count // 2) * (width + 1)
            width, count = width + 1, -(-count // 2)
        registers += count * width
    return adders, registers, saved


def stands_alone(group: ColumnGroup) -> bool:
    """Return whether the products of a column have a stage to themselves, as rtl/pe says."""
    weights, rows = group.format, group.circuit is Circuit.LUTS
    match weights:
        case Fixed() if group.operation == MULTIPLY:
            return not rows or weights.bits + (not weights.signed) > 4
        case Pot():
            return weights.bits > 4
        case Sp2():
            return weights.m1 > 2
        case Esb():
            return weights.exponent_bits + (weights.linear > 0) > 3 or weights.linear > 2
    return False


def _products(array: ArrayShape, group: ColumnGroup, products: int) -> dict[str, float]:
    """Return what lanes and the trees behind them cost."""
    operand, weight = array.operand_bits, group.format.bits
    width = term_bits(group.format, array, group)
    alone = stands_alone(group)
    adders, registers, saved = _tree(array.vector_lanes, width, alone=alone)
    trees = products // array.vector_lanes
    terms: dict[str, float] = {
        "product": products,
        "wide": products * int(width > 16),
        "operand": products * operand,
        "tree": trees * adders,
        "stage": trees * registers,
        "weight": products // array.pixels * weight,
    }
    if isinstance(group.format, Fixed):
        rows = -(-weight // 2)
        if alone:
            terms["saved"] = trees * saved
        terms |= {
            "weight_bit": products * weight,
            "row": products * (rows - 1) * (operand + 2),
        }
    if group.operation == DISTANCE:
        # Wide codes of no lane are found late, and masked in the first adders.
        terms["masked"] = products * width * int(weight > 5)
    if array.scaling is not None:
        terms |= {
            "vector": trees,
            "vector_bit": trees * (width + (array.vector_lanes - 1).bit_length()),
        }
    return terms


def _packing(array: ArrayShape, group: ColumnGroup, columns: int) -> DspPacking:
    return dsp_packing(
        group.format, array.operand_bits, columns=columns, pixels=array.pixels, lanes=array.lanes
    )


def _chains(
    array: ArrayShape, group: ColumnGroup, packing: DspPacking, sums: int
) -> dict[str, float]:
    """Return what is round the DSP blocks: packing, taking fields apart, adding up chains."""
    schedule = Schedule.of(array.lanes, packing.chain)
    chains = len(schedule.chains)
    # Chains that add up behind no register are added with the accumulator, three at a time.
    merged = chains > 1 and not schedule.tree
    width = term_bits(group.format, array, group) + (array.lanes // chains).bit_length()
    dsps = packing.dsps(lanes=array.lanes, pixels=array.pixels)
    return {
        "dsp": dsps,
        "borrow": dsps * int(packing.columns > 1 and packing.pixels > 1),
        "chain": sums * (chains - 1),
        "merged": sums * array.accumulator_bits * int(merged),
        "tree": sums * (chains - 1) * width,
        "weight": packing.columns * array.lanes * group.format.bits,
        "operand": dsps * packing.pixels * array.operand_bits,
    }

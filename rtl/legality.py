"""The check of a descriptor before it is handed to a unit."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator, Bus
from celosia.dataflow.array_shape import Circuit, Depthwise
from celosia.dataflow.descriptors import COMPUTE_LOOPS, Unit
from celosia.dataflow.precision import MAX_PRECISION, pass_factors
from celosia.rtl.affine import WORD_BITS
from celosia.rtl.descriptors import (
    DESCRIPTOR_BITS,
    KEEP_ADDRESS_BITS,
    KEEP_LANE_BITS,
    POST_COUNTS,
    SLIDING,
    TRANSFER,
    ComputeLayout,
    LoadLayout,
    Opcode,
    PostLayout,
    SlidingComputeLayout,
    StoreLayout,
    TableLoadLayout,
    TablePostLayout,
)
from celosia.rtl.ports import giver_mask, taker_mask
from celosia.rtl.rules import TOGETHER, all_of
from celosia.rtl.shared import Shared

UNIT_OF = {
    Opcode.LOAD: Unit.LOAD,
    Opcode.COMPUTE: Unit.COMPUTE,
    Opcode.POST: Unit.POST,
    Opcode.STORE: Unit.STORE,
    Opcode.STAMP: Unit.STORE,
    Opcode.END: Unit.STORE,
    Opcode.KEEP: Unit.STORE,
}
"""The unit that runs each kind of descriptor."""

LAYOUT_OF = {
    Unit.LOAD: LoadLayout,
    Unit.COMPUTE: ComputeLayout,
    Unit.POST: PostLayout,
    Unit.STORE: StoreLayout,
}
"""The layout of the descriptors of each unit."""


def layout_of(unit: Unit, *, sliding: bool = False, tables: bool = False) -> data.StructLayout:
    """Return the layout of the descriptors of ``unit``.

    ``sliding`` and ``tables``: in an engine whose windows may slide, that has tables.
    """
    if sliding and unit is Unit.COMPUTE:
        return SlidingComputeLayout
    if tables and unit in (Unit.LOAD, Unit.POST):
        return TableLoadLayout if unit is Unit.LOAD else TablePostLayout
    return LAYOUT_OF[unit]


Span = tuple[int, int]
"""Of bits: where they begin, and how many they are."""


def span(layout: data.Layout, *path: str | int) -> Span:
    """Return the bits of the field of ``layout`` at ``path``."""
    offset, shape = 0, Shape.cast(layout)
    inner: Any = layout
    for key in path:
        field = inner[key]
        offset, inner = offset + field.offset, field.shape
        shape = Shape.cast(inner)
    return offset, shape.width


def ones(bits: Span, *, above: int = 0) -> int:
    """Return a mask of ``bits`` but for the lowest ``above`` of them."""
    offset, width = bits
    return (1 << offset + width) - (1 << offset + above)


TRANSFER_COUNTS = ("words", "n1", "n2", "n3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an engine can do, as far as it decides which descriptors are legal.

    Attributes
    ----------
    bus : Bus
        Widths of addresses and beats.
    scalable : Circuit or None
        The precision-scalable circuit of the columns, if they are of one.
    keeps : bool
        Whether outputs can be kept on chip.
    windows : Depthwise or None
        The windows of the array's columns, if they have some.
    lanes : tuple of int
        The lanes at which their columns may begin.
    tables : int
        Tables of each post lane.
    """

    bus: Bus
    scalable: Circuit | None = None
    keeps: bool = False
    windows: Depthwise | None = None
    lanes: tuple[int, ...] = (0,)
    tables: int = 0

    @classmethod
    def of(cls, accelerator: Accelerator) -> Rules:
        """Return the rules of ``accelerator``."""
        array = accelerator.array
        return cls(
            bus=accelerator.bus,
            scalable=array.scalable,
            keeps=accelerator.buffers.keeps,
            windows=array.depthwise,
            lanes=array.first_lanes,
            tables=0 if accelerator.tables is None else accelerator.tables.count,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What is demanded of the descriptors of an opcode.

    Attributes
    ----------
    zero : int
        Mask of bits that are 0.
    counts : list of Span
        Fields that are not.
    rules : list of Value
        What else is true.
    """

    zero: int
    counts: list[Span]
    rules: list[Value]


class PassesCheck(Shared):
    """Says whether operands have widths, and a word the passes that they take. No latency.

    A module of its own, so that it is not put together with what decides whether it matters.

    Parameters
    ----------
    circuit : Circuit
        Precision-scalable.

    Members
    -------
    weight_bits, activation_bits : In(5)
        Widths of the operands: legal are 1 to 16.
    count : In(16)
        Passes of a word.
    kept : Out(...)
        Legal where all are 1: for :func:`~celosia.rtl.rules.all_of`, with other rules.
    """

    weight_bits: Signal
    activation_bits: Signal
    count: Signal
    kept: Signal

    def __init__(self, circuit: Circuit) -> None:
        self._circuit = circuit
        width = MAX_PRECISION.bit_length()
        # By side, the widths that take so many passes each.
        self._widths: list[dict[int, list[int]]] = [{}, {}]
        for bits in range(1, MAX_PRECISION + 1):
            for side, factor in enumerate(pass_factors(circuit, bits)):
                self._widths[side].setdefault(factor, []).append(bits)
        self._pairs = list(itertools.product(*self._widths))
        super().__init__(
            {
                "weight_bits": In(width),
                "activation_bits": In(width),
                "count": In(WORD_BITS),
                "kept": Out(3 + len(self._pairs)),
            },
            name=f"passes_check_{circuit.value}",
            parameters=(circuit,),
        )

    def build(self) -> Module:
        m = Module()
        widths = (self.weight_bits, self.activation_bits)
        has = [
            {factor: Cat(width == n for n in bits).any() for factor, bits in side.items()}
            for width, side in zip(widths, self._widths, strict=True)
        ]
        low = max(weight * activation for weight, activation in self._pairs).bit_length()
        kept = [(width != 0) & (width <= MAX_PRECISION) for width in widths]
        kept.append(self.count[low:] == 0)
        for weight, activation in self._pairs:
            both = has[0][weight] & has[1][activation]
            kept.append((self.count[:low] == weight * activation) | ~both)
        m.d.comb += self.kept.eq(Cat(kept))
        return m


class LegalityCheck(Shared):
    """Says whether a descriptor is legal. No latency.

    It is when all of these hold:

    - the opcode is known, a keep only where outputs can be kept;
    - ``wait`` names only tokens that the unit takes, ``signal`` only tokens that it gives
      (none for an end);
    - all reserved bits and all bits above the layout are 0;
    - no count is 0; those of a stamp are 1, all of an end but the header is 0;
    - the operands' widths of a compute are 0, or where columns are precision-scalable 1 to 16, and
      its innermost loop, over the reduction, counts their passes and moves no address;
    - where windows may slide, those that do are no larger than the array's, begin at a lane where
      columns may, and have two inner loops that reduce nothing, move no sum and have lines no
      longer than the array's; all their fields are 0 in other computes;
    - where there are tables, a post looks up in one of them or names none, and a load of one has
      no other target;
    - memory addresses and strides are multiples of a beat's bytes, and addresses have no bit
      above the port's width; those of a keep have none above an activation word's and its lane's.

    Parameters
    ----------
    rules : Rules
        What the engine can do.

    Members
    -------
    descriptor : In(512)
        The descriptor.
    legal : Out(1)
        It is legal.
    """

    descriptor: Signal
    legal: Signal

    def __init__(self, rules: Rules) -> None:
        self._of = rules
        super().__init__(
            {"descriptor": In(DESCRIPTOR_BITS), "legal": Out(1)},
            name="legality_check",
            parameters=(rules,),
        )

    def build(self) -> Module:
        m = Module()
        opcode = self.descriptor[: Opcode.as_shape().width]
        demands = {
            code: self._demands(m, code)
            for code in UNIT_OF
            if self._of.keeps or code is not Opcode.KEEP
        }

        def is_one_of(codes: Iterable[Opcode]) -> Value:
            return Cat(opcode == code.value for code in codes).any()

        # What is demanded of the same bits for several opcodes is looked at once for all of them.
        zeros: dict[tuple[Opcode, ...], list[Value]] = {}
        for bit, value in enumerate(self.descriptor):
            codes = tuple(code for code, demand in demands.items() if demand.zero >> bit & 1)
            if codes:
                zeros.setdefault(codes, []).append(value)
        counts: dict[Span, list[Opcode]] = {}
        for code, demand in demands.items():
            for count in demand.counts:
                counts.setdefault(count, []).append(code)
        kept = [is_one_of(demands)]
        for codes, bits in zeros.items():
            for first in range(0, len(bits), TOGETHER):
                kept.append(~(Cat(bits[first : first + TOGETHER]).any() & is_one_of(codes)))
        for (offset, width), users in counts.items():
            kept.append(self.descriptor[offset:][:width].any() | ~is_one_of(users))
        for code, demand in demands.items():
            kept += [rule | (opcode != code.value) for rule in demand.rules]
        m.d.comb += self.legal.eq(all_of(m, "legal", kept))
        return m

    def _demands(self, m: Module, opcode: Opcode) -> Demands:
        """Return what is demanded of the descriptors of ``opcode``."""
        unit, keeps = UNIT_OF[opcode], self._of.keeps
        layout = layout_of(unit, sliding=self._of.windows is not None, tables=self._of.tables > 0)
        body: Any = data.View(layout, self.descriptor[: layout.size])
        field = partial(span, layout)
        gives = 0 if opcode is Opcode.END else giver_mask(unit, keeps=keeps)
        zero = ones((layout.size, DESCRIPTOR_BITS - layout.size)) | ones(field("reserved"))
        zero |= ones(field("wait")) & ~(taker_mask(unit, keeps=keeps) << field("wait")[0])
        zero |= ones(field("signal")) & ~(gives << field("signal")[0])
        counts = [field(name) for name in TRANSFER_COUNTS if name in layout.members]
        rules: list[Value] = []
        match opcode:
            case Opcode.COMPUTE:
                counts = [field("loops", n, "count") for n in range(COMPUTE_LOOPS)]
                precision = [field(name) for name in ("weight_bits", "activation_bits")]
                if self._of.scalable is None:
                    zero |= sum(map(ones, [*precision, field("weights_signed")]))
                else:
                    steps = ("activations", "weights", "accumulators")
                    zero |= sum(ones(field("loops", 0, name)) for name in steps)
                    m.submodules.passes = passes = PassesCheck(self._of.scalable)
                    m.d.comb += [
                        passes.weight_bits.eq(body.weight_bits),
                        passes.activation_bits.eq(body.activation_bits),
                        passes.count.eq(body.loops[0].count),
                    ]
                    rules += [*passes.kept, body.reduction[0]]
                rules += self._sliding(body)
            case Opcode.POST:
                counts = [field(name) for name in POST_COUNTS]
                if tables := self._of.tables:
                    rules.append(Mux(body.looks_up, body.table < tables, body.table == 0))
            case Opcode.END:
                counts = []
                zero |= sum(ones(field(name)) for name in TRANSFER)
            case Opcode.KEEP:
                zero |= sum(ones(field(f"s{n}"), above=KEEP_ADDRESS_BITS) for n in (1, 2, 3))
                zero |= ones(field("address"), above=KEEP_ADDRESS_BITS + KEEP_LANE_BITS)
            case _:
                bus = self._of.bus
                names = ("address", "s1", "s2", "s3")
                low = bus.data_bytes - 1  # of addresses: within a beat
                zero |= sum(low << field(name)[0] for name in names)
                zero |= ones(field("address"), above=bus.address_bits)
                if opcode is Opcode.STAMP:
                    zero |= sum(ones(count, above=1) for count in counts)
                if opcode is Opcode.LOAD and self._of.tables:
                    rules.append(~body.table | (body.target == 0))
        return Demands(zero=zero, counts=counts, rules=rules)

    def _sliding(self, body: Any) -> list[Value]:
        """Return the rules of windows that slide; of fields that other computes leave 0."""
        windows = self._of.windows
        if windows is None:
            return []
        line, plane = body.loops[0], body.loops[1]
        fields = [body[name] for name in SLIDING if name != "sliding"]
        slides = [
            body.skip_rows < windows.rows,
            (body.skip_columns != 0) & (body.skip_columns < windows.columns),
            Cat(body.first_lane == lane for lane in self._of.lanes).any(),
            body.reduction[:2] == 0,
            line.accumulators == 0,
            plane.accumulators == 0,
            line.count > body.skip_columns,
            plane.count > body.skip_rows,
            line.count <= windows.width,
        ]
        return [body.sliding | ~Cat(fields).any(), *(rule | ~body.sliding for rule in slides)]

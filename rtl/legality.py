"""The check of a descriptor before it is handed to a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator, Bus
from celosia.dataflow.array_shape import Circuit, Depthwise
from celosia.dataflow.descriptors import COMPUTE_LOOPS, Unit
from celosia.dataflow.precision import MAX_PRECISION, pass_factors
from celosia.rtl.descriptors import (
    DESCRIPTOR_BITS,
    KEEP_ADDRESS_BITS,
    KEEP_LANE_BITS,
    POST_COUNTS,
    SLIDING,
    TRANSFER,
    ComputeLayout,
    HeaderLayout,
    LoadLayout,
    Opcode,
    PostLayout,
    SlidingComputeLayout,
    StoreLayout,
    TableLoadLayout,
    TablePostLayout,
)
from celosia.rtl.ports import giver_mask, taker_mask
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


_WIDTHS = range(1, MAX_PRECISION + 1)
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
        header: Any = data.View(HeaderLayout, self.descriptor[: HeaderLayout.size])
        with m.Switch(self.descriptor[:4]):
            for opcode, unit in UNIT_OF.items():
                if opcode is Opcode.KEEP and not self._of.keeps:
                    continue
                tables = self._of.tables > 0
                layout = layout_of(unit, sliding=self._of.windows is not None, tables=tables)
                body: Any = data.View(layout, self.descriptor[: layout.size])
                gives = 0 if opcode is Opcode.END else giver_mask(unit, keeps=self._of.keeps)
                rules = [
                    (header.wait & ~taker_mask(unit, keeps=self._of.keeps)) == 0,
                    (header.signal & ~gives) == 0,
                    header.reserved == 0,
                    self.descriptor[layout.size :] == 0,
                    *self._rules(opcode, body),
                ]
                with m.Case(opcode.value):
                    m.d.comb += self.legal.eq(Cat(rules).all())
        return m

    def _rules(self, opcode: Opcode, body: Any) -> list[Value]:
        match opcode:
            case Opcode.COMPUTE:
                counts: list[Value] = [body.loops[n].count != 0 for n in range(COMPUTE_LOOPS)]
                return counts + self._precision(body) + self._sliding(body)
            case Opcode.POST:
                return [body[name] != 0 for name in POST_COUNTS] + self._lookup(body)
            case Opcode.END:
                return [Value.cast(body[name]) == 0 for name in TRANSFER]
            case Opcode.STAMP:
                return [body[name] == 1 for name in TRANSFER_COUNTS] + self._aligned(body)
            case Opcode.KEEP:
                rules = [body[name] != 0 for name in TRANSFER_COUNTS]
                rules += [body[name][KEEP_ADDRESS_BITS:] == 0 for name in ("s1", "s2", "s3")]
                return [*rules, body.address[KEEP_ADDRESS_BITS + KEEP_LANE_BITS :] == 0]
            case _:
                rules = [body[name] != 0 for name in TRANSFER_COUNTS] + self._aligned(body)
                if opcode is Opcode.LOAD and self._of.tables:
                    rules.append(~body.table | (body.target == 0))
                return rules

    def _lookup(self, body: Any) -> list[Value]:
        """Return the rules of a post's table, where there are some."""
        if not self._of.tables:
            return []
        return [Mux(body.looks_up, body.table < self._of.tables, body.table == 0)]

    def _precision(self, body: Any) -> list[Value]:
        """Return the rules of a compute's operand widths and of its loop over their passes."""
        widths = (body.weight_bits, body.activation_bits)
        if self._of.scalable is None:
            return [width == 0 for width in (*widths, body.weights_signed)]
        factors = [
            Choice([Const(0, 7), *(pass_factors(self._of.scalable, n)[side] for n in _WIDTHS)])
            for side in range(2)
        ]
        inner = body.loops[0]
        known = [(width != 0) & (width <= MAX_PRECISION) for width in widths]
        counted = [table[width] for table, width in zip(factors, widths, strict=True)]
        return [
            *known,
            inner.count == counted[0] * counted[1],
            body.reduction[0],
            *(inner[name] == 0 for name in ("activations", "weights", "accumulators")),
        ]

    def _sliding(self, body: Any) -> list[Value]:
        """Return the rules of windows that slide; of fields that other computes leave 0."""
        windows = self._of.windows
        if windows is None:
            return []
        line, plane = body.loops[0], body.loops[1]
        fields = [body[name] for name in SLIDING]
        slides = Cat(
            body.skip_rows < windows.rows,
            (body.skip_columns != 0) & (body.skip_columns < windows.columns),
            Cat(body.first_lane == lane for lane in self._of.lanes).any(),
            body.reduction[:2] == 0,
            line.accumulators == 0,
            plane.accumulators == 0,
            line.count > body.skip_columns,
            plane.count > body.skip_rows,
            line.count <= windows.width,
        ).all()
        return [Mux(body.sliding, slides, ~Cat(fields).any())]

    def _aligned(self, body: Any) -> list[Value]:
        bus = self._of.bus
        names = ("address", "s1", "s2", "s3")
        rules: list[Value] = [body[name][: bus.data_bytes.bit_length() - 1] == 0 for name in names]
        return [*rules, body.address[bus.address_bits :] == 0]

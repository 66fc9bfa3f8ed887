"""Bit layout of a SpArch program's descriptors and work records, from bit 0, the rest zero."""

from __future__ import annotations

from dataclasses import fields

from amaranth.hdl import unsigned
from amaranth.lib import data, enum

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.descriptors import Descriptor, End, Round, Source, Stamp

COUNT_BITS = 40
"""Of records of a round, and of elements of a matrix."""

LEFT_BITS = 31
"""Of the beats of a round's records."""

PARTIAL_BITS = 12
"""Of a partial matrix's number."""


class Opcode(enum.Enum, shape=4):
    """What a descriptor asks for. 0 is illegal on purpose: zeroed memory is no program."""

    SOURCE = 1
    ROUND = 2
    STAMP = 3
    END = 4


SourceLayout = data.StructLayout(
    {
        "opcode": Opcode,
        "leaf": unsigned(6),
        "partial": unsigned(PARTIAL_BITS),
        "address": unsigned(64),
    }
)

RoundLayout = data.StructLayout(
    {
        "opcode": Opcode,
        "final": unsigned(1),
        "partial": unsigned(PARTIAL_BITS),
        "records": unsigned(COUNT_BITS),
        "left": unsigned(64),
        "right": unsigned(64),
        "leaves": unsigned(64),
        "target": unsigned(64),
        "pointers": unsigned(64),
        "rows": unsigned(32),
        "columns": unsigned(32),
        "capacity": unsigned(COUNT_BITS),
        "beats": unsigned(LEFT_BITS),
    }
)

StampLayout = data.StructLayout({"opcode": Opcode, "address": unsigned(64)})

EndLayout = data.StructLayout({"opcode": Opcode})

LAYOUTS: dict[Opcode, data.StructLayout] = {
    Opcode.SOURCE: SourceLayout,
    Opcode.ROUND: RoundLayout,
    Opcode.STAMP: StampLayout,
    Opcode.END: EndLayout,
}
"""The layout of each opcode's descriptor."""

_OPCODES: dict[type, Opcode] = {
    Source: Opcode.SOURCE,
    Round: Opcode.ROUND,
    Stamp: Opcode.STAMP,
    End: Opcode.END,
}


def encode(descriptor: Descriptor) -> int:
    """Return the bits of ``descriptor``.

    Raises ``ValueError`` naming the field that does not fit.
    """
    opcode = _OPCODES[type(descriptor)]
    code = opcode.value
    for name, field in LAYOUTS[opcode]:
        if name == "opcode":
            continue
        value = int(getattr(descriptor, name))
        if not 0 <= value < 1 << field.width:
            raise ValueError(
                f"{type(descriptor).__name__} {name} must be in 0..{(1 << field.width) - 1}, "
                f"not {value}"
            )
        code |= value << field.offset
    return code


def work_layout(accelerator: SparchAccelerator) -> data.StructLayout:
    """Return the layout of a work record: ``docs/sparch.md``."""
    work = accelerator.work
    return data.StructLayout({field.name: getattr(work, field.name) for field in fields(work)})


def told_layout(accelerator: SparchAccelerator) -> data.StructLayout:
    """Return the layout of a work record whose row and value may follow from those before it.

    ``follows`` says how (:class:`~celosia.dataflow.sparch.work.Follows`); ``row`` is what the
    record has of it in memory, be it the row or by how much it grows.
    """
    work = {name: field.shape for name, field in work_layout(accelerator)}
    return data.StructLayout(work | {"follows": 2})


def number_bits(accelerator: SparchAccelerator) -> int:
    """Return the bits of counters of records, or fetches, at most ``look_ahead`` apart.

    They are compared by their difference's sign.
    """
    return accelerator.right.look_ahead.bit_length() + 1


def numbered(layout: data.StructLayout, accelerator: SparchAccelerator) -> data.StructLayout:
    """Return the ``layout`` of a record with its ``number``, as the engine counts records."""
    fields = {name: field.shape for name, field in layout}
    return data.StructLayout(fields | {"number": number_bits(accelerator)})


def head_layout(accelerator: SparchAccelerator) -> data.StructLayout:
    """Return the layout of the first part of a work record in memory: ``docs/sparch.md``."""
    work = accelerator.work
    names = ("leaf", "slot", "first", "count")
    return data.StructLayout(
        {"follows": 2, "last": 1, "fetches": 1} | {name: getattr(work, name) for name in names}
    )

"""Bit layout of an EIE program's descriptors: 512 bits each, from bit 0, the rest zero."""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from celosia.dataflow.eie.descriptors import Cell, Descriptor, End, Load, Run, Stamp, Store
from celosia.models.network import MAX_ACTIVATION_BITS

PLACE_BITS = 21
"""Bits of a place in a PE's memory, in entries, pointers, words or beats."""

ROW_BITS, FILE_BITS = 15, 14
"""Bits of a number of words of activations, and of the place of one."""


class Opcode(enum.Enum, shape=4):
    """What a descriptor asks for. 0 is illegal on purpose: zeroed memory is no program."""

    LOAD = 1
    RUN = 2
    STORE = 3
    STAMP = 4
    END = 5
    CELL = 6


LoadLayout = data.StructLayout(
    {
        "opcode": Opcode,
        "target": unsigned(3),
        "pe": unsigned(9),
        "after": unsigned(32),
        "place": unsigned(PLACE_BITS),
        "beats": unsigned(PLACE_BITS),
        "address": unsigned(64),
    }
)

RunLayout = data.StructLayout(
    {
        "opcode": Opcode,
        "after": unsigned(32),
        "source": unsigned(1),
        "write": unsigned(1),
        "window": unsigned(14),
        "columns": unsigned(PLACE_BITS),
        "pointers": unsigned(PLACE_BITS),
        "entries": unsigned(PLACE_BITS),
        "size": unsigned(PLACE_BITS),
        "occupancy": unsigned(PLACE_BITS),
        "codebook": unsigned(4),
        "rows": unsigned(ROW_BITS),
        "last_pes": unsigned(9),
        "biases": unsigned(14),
        "target": unsigned(FILE_BITS),
        "shift": unsigned(6),
        "low": signed(MAX_ACTIVATION_BITS + 1),
        "high": signed(MAX_ACTIVATION_BITS + 1),
    }
)

CellLayout = data.StructLayout(
    {
        "opcode": Opcode,
        "source": unsigned(1),
        "rows": unsigned(ROW_BITS),
        "last_pes": unsigned(9),
        "gates": unsigned(FILE_BITS),
        "cell": unsigned(FILE_BITS),
        "target": unsigned(FILE_BITS),
        "cell_shift": unsigned(3),
        "shift": unsigned(5),
        "low": signed(MAX_ACTIVATION_BITS + 1),
        "high": signed(MAX_ACTIVATION_BITS + 1),
    }
)

StoreLayout = data.StructLayout(
    {
        "opcode": Opcode,
        "after": unsigned(32),
        "source": unsigned(1),
        "rows": unsigned(ROW_BITS),
        "first": unsigned(FILE_BITS),
        "address": unsigned(64),
    }
)
"""Also of a stamp, of which only the address is not 0, and of an end, all 0."""

_KINDS: dict[type, tuple[Opcode, data.StructLayout]] = {
    Load: (Opcode.LOAD, LoadLayout),
    Run: (Opcode.RUN, RunLayout),
    Cell: (Opcode.CELL, CellLayout),
    Store: (Opcode.STORE, StoreLayout),
    Stamp: (Opcode.STAMP, StoreLayout),
    End: (Opcode.END, StoreLayout),
}


def encode(descriptor: Descriptor) -> int:
    """Return the bits of ``descriptor``.

    Raises ``ValueError`` naming the field that does not fit.
    """
    opcode, layout = _KINDS[type(descriptor)]
    code = opcode.value
    for name, field in layout:
        if name == "opcode" or not hasattr(descriptor, name):
            continue
        value, width = int(getattr(descriptor, name)), field.width
        is_signed = name in ("low", "high")
        low, high = (-(1 << width - 1), 1 << width - 1) if is_signed else (0, 1 << width)
        if not low <= value < high:
            raise ValueError(
                f"{type(descriptor).__name__} {name} must be in {low}..{high - 1}, not {value}"
            )
        code |= (value & ((1 << width) - 1)) << field.offset
    return code

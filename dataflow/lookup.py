"""Tables of a step: whether an accelerator has room for one, its rows, and how they are loaded.

An entry lies where the lowest bits of its index say, so that indices of any range that is no longer
than the table need no offset in hardware. Only rows that some index of the layer can reach are
loaded: those of indices from 0 on, and at the end of the table those of negative ones.
"""

from __future__ import annotations

import numpy as np

from celosia.dataflow.accelerator import ROW_ENTRIES, Accelerator, Tables
from celosia.dataflow.descriptors import Transfer
from celosia.dataflow.transfers import Axis, transfer
from celosia.models.errors import CelosiaError
from celosia.models.network import Requant
from celosia.models.tables import Table


def check_table(layer: str, requant: Requant, accelerator: Accelerator) -> None:
    """Raise :class:`CelosiaError` if ``accelerator`` has no table as large as the layer's."""
    table, tables = requant.table, accelerator.tables
    if table is None:
        return
    needed = max(4, (len(table.values) - 1).bit_length())
    if tables is None:
        raise CelosiaError(
            f"layer {layer!r} ends in {table.function}, a table of {len(table.values)} entries, "
            f"and accelerator {accelerator.name!r} has no tables: give it [post.tables] with "
            f"index_bits = {needed} and count = 2 (presets whose names end in _act have some), or "
            "use ReLU, or another function of straight lines"
        )
    if needed > tables.index_bits:
        raise CelosiaError(
            f"layer {layer!r} ends in {table.function}, a table of {len(table.values)} entries, "
            f"those of accelerator {accelerator.name!r} have {1 << tables.index_bits}: raise "
            f"post.tables.index_bits to {needed}, or quantise with --table-bits {tables.index_bits}"
        )


def table_rows(requant: Requant, table: Table, tables: Tables) -> np.ndarray:
    """Return the entries as they lie in a table on chip, int64 (rows, ``ROW_ENTRIES``)."""
    entries = np.zeros(1 << tables.index_bits, np.int64)
    indices = np.arange(requant.low, requant.high + 1) % len(entries)
    entries[indices] = table.values
    return entries.reshape(-1, ROW_ENTRIES)


def table_transfer(requant: Requant, accelerator: Accelerator, address: int, slot: int) -> Transfer:
    """Return the transfer of the rows that a layer's indices reach into table ``slot``."""
    assert accelerator.tables is not None
    rows = accelerator.tables.rows
    size = accelerator.word_bytes(accelerator.table_word_bits)
    above = max(0, requant.high + 1)
    below = max(0, -requant.low)
    runs = [-(-count // ROW_ENTRIES) for count in (above, below)]
    most = max(runs)
    first = slot * rows
    if requant.low > 0 or requant.high < 0 or 2 * most >= rows:
        return transfer(address, first, rows, (), size)
    if not runs[1]:
        return transfer(address, first, most, (), size)
    apart = Axis(count=2, memory=(rows - most) * size, buffer=rows - most)
    return transfer(address, first, most, (apart,), size)

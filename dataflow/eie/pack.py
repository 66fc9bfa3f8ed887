"""What lies in memory for a layer: bytes of pointers, entries, bitmaps, biases and tables."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.models.eie import Compressed
from celosia.models.formats import Format
from celosia.models.lstm import Table


def beats_of(accelerator: EieAccelerator, size: int) -> int:
    """Return the beats that ``size`` bytes fill."""
    return -(-size // accelerator.bus.data_bytes)


def _padded(accelerator: EieAccelerator, raw: np.ndarray) -> np.ndarray:
    """Return ``raw`` as bytes, in whole beats."""
    flat = np.ascontiguousarray(raw).view(np.uint8).reshape(-1)
    return np.pad(flat, (0, -len(flat) % accelerator.bus.data_bytes))


def pointer_bytes(accelerator: EieAccelerator, pointers: np.ndarray) -> np.ndarray:
    """Return the bytes of one PE's ``pointers``."""
    kind = "<u2" if accelerator.pointer_slot == 16 else "<u4"
    return _padded(accelerator, pointers.astype(kind))


def entry_bytes(accelerator: EieAccelerator, codes: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Return the bytes of one PE's entries: rows in slots, each entry's weight below its index."""
    widths, each = accelerator.widths, accelerator.memories.row_entries
    entries = codes.astype(np.uint32) | gaps.astype(np.uint32) << widths.weight
    entries = np.pad(entries, (0, -len(entries) % each))
    if widths.entry == 8 and accelerator.row_slot == 8 * each:
        return _padded(accelerator, entries.astype(np.uint8))
    bits = (entries[:, None] >> np.arange(widths.entry, dtype=np.uint32) & 1).astype(np.uint8)
    rows = bits.reshape(-1, each * widths.entry)
    rows = np.pad(rows, ((0, 0), (0, accelerator.row_slot - rows.shape[1])))
    return _padded(accelerator, np.packbits(rows, axis=1, bitorder="little"))


def occupancy_bytes(accelerator: EieAccelerator, counts: np.ndarray) -> np.ndarray:
    """Return the bytes of one PE's bitmap: a 1 for each column in which it has entries."""
    return _padded(accelerator, np.packbits(counts > 0, bitorder="little"))


def bias_bytes(accelerator: EieAccelerator, biases: np.ndarray) -> np.ndarray:
    """Return the bytes of one PE's biases."""
    return _padded(accelerator, biases.astype("<i4" if accelerator.bias_slot == 32 else "<i8"))


def table_bytes(accelerator: EieAccelerator, fmt: Format) -> np.ndarray:
    """Return the bytes of a codebook: each value in a beat of its own."""
    beats = np.zeros((1 << fmt.bits, accelerator.bus.data_bytes), np.uint8)
    values = fmt.decode(np.arange(1 << fmt.bits))
    beats[:, :2] = values.astype("<i2").view(np.uint8).reshape(-1, 2)
    return beats.reshape(-1)


def function_bytes(accelerator: EieAccelerator, tables: Iterable[Table]) -> np.ndarray:
    """Return the bytes of functions: of each segment its first knot, and the step to the next."""
    words = [
        (table.knots[:-1] & 0xFFFF) | (np.diff(table.knots) & 0xFFFF) << 16 for table in tables
    ]
    return _padded(accelerator, np.concatenate(words).astype("<u4"))


def pe_entries(compressed: Compressed, pe: int) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and indices of one PE's entries."""
    part = slice(int(compressed.bases[pe]), int(compressed.bases[pe + 1]))
    return compressed.codes[part], compressed.gaps[part]

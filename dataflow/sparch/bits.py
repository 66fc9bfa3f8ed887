"""Records of fields in beats: as many as fit, each from the bit after the one before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celosia.dataflow.jit import compiled


@compiled
def _put(
    memory: np.ndarray, fields: np.ndarray, widths: np.ndarray, lanes: int, beat_bits: int
) -> None:
    bits = widths.sum()
    for record in range(fields.shape[1]):
        at = (record // lanes) * beat_bits + (record % lanes) * bits
        for number in range(len(widths)):
            width, value = widths[number], fields[number, record]
            done = 0
            while done < width:
                byte, shift = (at + done) >> 3, (at + done) & 7
                chunk = min(8 - shift, width - done)
                part = (value >> np.uint64(done)) & np.uint64((1 << chunk) - 1)
                memory[byte] |= np.uint8(part << np.uint64(shift))
                done += chunk
            at += width


@compiled
def _get(
    memory: np.ndarray, fields: np.ndarray, widths: np.ndarray, lanes: int, beat_bits: int
) -> None:
    bits = widths.sum()
    for record in range(fields.shape[1]):
        at = (record // lanes) * beat_bits + (record % lanes) * bits
        for number in range(len(widths)):
            width, value, done = widths[number], np.uint64(0), 0
            while done < width:
                byte, shift = (at + done) >> 3, (at + done) & 7
                chunk = min(8 - shift, width - done)
                part = (np.uint64(memory[byte]) >> np.uint64(shift)) & np.uint64((1 << chunk) - 1)
                value |= part << np.uint64(done)
                done += chunk
            fields[number, record] = value
            at += width


def beats_of(records: int, lanes: int) -> int:
    """Return the beats of ``records``, ``lanes`` in each."""
    return -(-records // lanes)


def pack_records(
    fields: Sequence[np.ndarray], widths: Sequence[int], lanes: int, beat_bytes: int
) -> np.ndarray:
    """Return records in memory, uint8, whole beats, unused bits 0.

    Parameters
    ----------
    fields
        Codes of each field, from bit 0 on, each (n,).
    widths
        Bits of each field, up to 64.
    lanes
        Records in a beat.
    beat_bytes
        Bytes of a beat.

    Raises
    ------
    ValueError
        A code does not fit its field.
    """
    codes = np.array([np.asarray(field).astype(np.uint64) for field in fields])
    for field, width in zip(codes, widths, strict=True):
        if width < 64 and (field >> np.uint64(width)).any():
            raise ValueError(f"a field of {width} bits holds {int(field.max())}")
    memory = np.zeros(beats_of(codes.shape[1], lanes) * beat_bytes, np.uint8)
    _put(memory, codes, np.array(widths, np.int64), lanes, beat_bytes * 8)
    return memory


def unpack_records(
    memory: np.ndarray, count: int, widths: Sequence[int], lanes: int, beat_bytes: int
) -> np.ndarray:
    """Return the fields, uint64 (fields, ``count``), of what :func:`pack_records` wrote."""
    fields = np.empty((len(widths), count), np.uint64)
    _get(memory, fields, np.array(widths, np.int64), lanes, beat_bytes * 8)
    return fields

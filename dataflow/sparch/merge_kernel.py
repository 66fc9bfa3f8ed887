"""Products and merges of sorted streams, with the engine's arithmetic. In machine code.

A stream is keys (int64: row in the upper 32 bits, column in the lower), rising, and numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from celosia.dataflow.jit import compiled
from celosia.dataflow.sparch.values import CANONICAL_NAN

ROW_SHIFT = 32
"""Bit of a key at which the row begins."""


class Stream(NamedTuple):
    """Sorted elements: ``keys`` int64 (n,), ``numbers`` (n,)."""

    keys: np.ndarray
    numbers: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """The row of each element."""
        return self.keys >> ROW_SHIFT

    @property
    def columns(self) -> np.ndarray:
        """The column of each element."""
        return self.keys & ((1 << ROW_SHIFT) - 1)


def empty_stream(kind: np.dtype) -> Stream:
    """Return a stream without elements, of numbers of type ``kind``."""
    return Stream(np.empty(0, np.int64), np.empty(0, kind))


def canonical(numbers: np.ndarray) -> np.ndarray:
    """Return ``numbers`` with the canonical NaN for each NaN."""
    if numbers.dtype == np.float32:
        numbers.view(np.uint32)[np.isnan(numbers)] = CANONICAL_NAN
    return numbers


def products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the products of factors, numbers of one type; floats are rounded once."""
    with np.errstate(all="ignore"):
        return canonical(left * right)


@compiled
def _merge(
    a_keys: np.ndarray, a: np.ndarray, b_keys: np.ndarray, b: np.ndarray,
    keys: np.ndarray, numbers: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Merge two streams into ``keys`` and ``numbers``; return elements and additions."""
    i = j = n = added = 0
    while i < len(a_keys) or j < len(b_keys):
        if j == len(b_keys) or (i < len(a_keys) and a_keys[i] < b_keys[j]):
            keys[n], numbers[n] = a_keys[i], a[i]
            i += 1
        elif i == len(a_keys) or b_keys[j] < a_keys[i]:
            keys[n], numbers[n] = b_keys[j], b[j]
            j += 1
        else:
            keys[n], numbers[n] = a_keys[i], a[i] + b[j]
            i, j, added = i + 1, j + 1, added + 1
        if numbers[n] != 0:
            n += 1
    return n, added


def merge(a: Stream, b: Stream) -> tuple[Stream, int]:
    """Return what a node makes of two streams, and how many pairs of elements it adds.

    Elements that are 0 are dropped; of equal keys the first operand is ``a``'s.
    """
    total = len(a.keys) + len(b.keys)
    keys, numbers = np.empty(total, np.int64), np.empty(total, a.numbers.dtype)
    count, added = _merge(a.keys, a.numbers, b.keys, b.numbers, keys, numbers)
    return Stream(keys[:count].copy(), canonical(numbers[:count].copy())), added


def merge_tree(leaves: list[Stream]) -> tuple[Stream, int]:
    """Return what leaves the root of a tree with ``leaves`` (a power of two), and the additions."""
    added = 0
    while len(leaves) > 1:
        merged = [merge(*leaves[at : at + 2]) for at in range(0, len(leaves), 2)]
        leaves = [stream for stream, _ in merged]
        added += sum(count for _, count in merged)
    return leaves[0], added

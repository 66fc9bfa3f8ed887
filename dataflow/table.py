"""A program as one array of integers: what of its descriptors decides *when* things happen."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    Descriptor,
    End,
    Keep,
    Load,
    Post,
    Stamp,
    Store,
    Token,
    Transfer,
)
from celosia.dataflow.microarchitecture import load_targets, word_beats


class Kind(enum.IntEnum):
    """What a row is. Up to ``STORE`` the value is that of its :class:`Unit`, which runs it."""

    LOAD = 0
    COMPUTE = 1
    POST = 2
    STORE = 3
    STAMP = 4
    END = 5
    KEEP = 6


class Column(enum.IntEnum):
    """The columns of a table."""

    KIND = 0
    WAIT = 1
    """Mask of tokens."""
    SIGNAL = 2
    """Mask of tokens."""
    WORK = 3
    """Steps of a compute or post, beats of one run of a transfer, words of a keep, 1 of a stamp."""
    ADDRESS = 4
    """Bytes, of a transfer's first run; the others lie ``S1``, ``S2``, ``S3`` apart."""
    N1 = 5
    N2 = 6
    N3 = 7
    S1 = 8
    S2 = 9
    S3 = 10


def mask(tokens: Iterable[Token]) -> int:
    """Return the mask of ``tokens``."""
    return sum(1 << token for token in tokens)


def tabulate(descriptors: Sequence[Descriptor], accelerator: Accelerator) -> np.ndarray:
    """Return the table of ``descriptors``: int64, a row for each, columns :class:`Column`."""
    beats = {target: word_beats(target, accelerator) for target in load_targets(accelerator)}
    stored = accelerator.beats(accelerator.activation_word_bits)
    rows = [_row(descriptor, beats, stored) for descriptor in descriptors]
    return np.array(rows, np.int64).reshape(len(rows), len(Column))


def _row(descriptor: Descriptor, beats: dict[Buffer, int], stored: int) -> tuple[int, ...]:
    wait = mask(descriptor.wait)
    signal = 0 if isinstance(descriptor, End) else mask(descriptor.signal)
    match descriptor:
        case Load():
            kind, word = Kind.LOAD, beats[descriptor.target]
            return (kind, wait, signal, *_transfer(descriptor.transfer, word))
        case Compute():
            return (Kind.COMPUTE, wait, signal, descriptor.steps, 0, 1, 1, 1, 0, 0, 0)
        case Post():
            return (Kind.POST, wait, signal, descriptor.steps, 0, 1, 1, 1, 0, 0, 0)
        case Store():
            return (Kind.STORE, wait, signal, *_transfer(descriptor.transfer, stored))
        case Keep():
            t = descriptor.transfer
            work = t.words * t.n1 * t.n2 * t.n3
            return (Kind.KEEP, wait, signal, work, 0, 1, 1, 1, 0, 0, 0)
        case Stamp():
            return (Kind.STAMP, wait, signal, 1, descriptor.address, 1, 1, 1, 0, 0, 0)
        case End():
            return (Kind.END, wait, signal, 0, 0, 1, 1, 1, 0, 0, 0)


def _transfer(transfer: Transfer, word: int) -> tuple[int, ...]:
    t = transfer
    return (t.words * word, t.address, t.n1, t.n2, t.n3, t.s1, t.s2, t.s3)

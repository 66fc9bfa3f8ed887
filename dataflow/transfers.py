"""Transfers between memory and buffers with contiguous runs merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from celosia.dataflow.descriptors import Transfer

MAX_COUNT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """``count`` repetitions, ``memory`` bytes and ``buffer`` words apart."""

    count: int
    memory: int
    buffer: int


_NONE = Axis(count=1, memory=0, buffer=0)


def transfer(
    address: int,
    buffer_address: int,
    words: int,
    axes: Sequence[Axis],
    word_bytes: int,
    lanes: Axis | None = None,
) -> Transfer:
    """Return the transfer of runs of ``words`` words repeated along ``axes``, innermost first.

    An axis along which runs follow each other without a gap lengthens the run; at most
    three others may remain, two beside ``lanes``, the outermost loop of a load of activations.
    """
    loops: list[Axis] = []
    for axis in axes:
        if axis.count == 1:
            continue
        joined = words * axis.count <= MAX_COUNT and not loops
        if joined and axis.memory == words * word_bytes and axis.buffer == words:
            words *= axis.count
            continue
        if loops:
            inner = loops[-1]
            follows = axis.memory == inner.memory * inner.count
            follows &= axis.buffer == inner.buffer * inner.count
            if follows and inner.count * axis.count <= MAX_COUNT:
                loops[-1] = Axis(
                    count=inner.count * axis.count, memory=inner.memory, buffer=inner.buffer
                )
                continue
        loops.append(axis)
    if lanes is not None and lanes.count > 1:
        loops += [_NONE] * (2 - len(loops)) + [lanes]
    if len(loops) > 3:
        raise ValueError(f"a transfer has at most three loops round its runs, not {loops!r}")
    first, second, third = (*loops, _NONE, _NONE, _NONE)[:3]
    return Transfer(
        address=address,
        buffer_address=buffer_address,
        words=words,
        n1=first.count,
        n2=second.count,
        n3=third.count,
        s1=first.memory,
        s2=second.memory,
        s3=third.memory,
        d1=first.buffer,
        d2=second.buffer,
        d3=third.buffer,
    )

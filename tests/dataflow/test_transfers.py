from __future__ import annotations

import numpy as np
import pytest

from celosia.dataflow.descriptors import Transfer
from celosia.dataflow.transfers import Axis, transfer


def words(moved: Transfer, size: int) -> list[tuple[int, int]]:
    """Return (memory, buffer) of every word, in order."""
    return [
        (
            moved.address + i1 * moved.s1 + i2 * moved.s2 + i3 * moved.s3 + word * size,
            moved.buffer_address + i1 * moved.d1 + i2 * moved.d2 + i3 * moved.d3 + word,
        )
        for i3, i2, i1, word in np.ndindex(moved.n3, moved.n2, moved.n1, moved.words)
    ]


def test_contiguous_rows_and_planes_are_one_run() -> None:
    axes = (Axis(count=4, memory=80, buffer=5), Axis(count=3, memory=320, buffer=20))
    assert transfer(64, 7, 5, axes, 16) == Transfer(address=64, buffer_address=7, words=60)


@pytest.mark.parametrize("seed", range(30))
def test_merging_moves_the_same_words(seed: int) -> None:
    random = np.random.default_rng(seed)
    run, size = int(random.integers(1, 4)), 8
    axes, memory, buffer = [], run * size, run
    for _ in range(2):
        memory += int(random.integers(0, 2)) * size
        buffer += int(random.integers(0, 2))
        count = int(random.integers(1, 4))
        axes.append(Axis(count=count, memory=memory, buffer=buffer))
        memory, buffer = memory * count, buffer * count
    lanes = Axis(count=2, memory=4096, buffer=0)
    plain = Transfer(
        address=8, buffer_address=3, words=run, n1=axes[0].count, s1=axes[0].memory,
        d1=axes[0].buffer, n2=axes[1].count, s2=axes[1].memory, d2=axes[1].buffer,
        n3=2, s3=4096,
    )  # fmt: skip
    assert words(transfer(8, 3, run, axes, size, lanes), size) == words(plain, size)


def test_a_run_stays_below_the_limit() -> None:
    moved = transfer(0, 0, 40000, (Axis(count=2, memory=320000, buffer=40000),), 8)
    assert (moved.words, moved.n1) == (40000, 2)


def test_too_many_loops_wrong() -> None:
    axes = [Axis(count=2, memory=100 * 3**i, buffer=10 * 3**i) for i in range(4)]
    assert transfer(0, 0, 1, axes[:3], 8).n3 == 2
    with pytest.raises(ValueError, match="a transfer has at most three loops"):
        transfer(0, 0, 1, axes, 8)

"""Control of the threads of numeric libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one thread inside the block.

    Training of small networks is faster so, and its result does not depend on how many cores
    the machine has.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return ``left @ right`` (float64, batched alike), on torch's threads and not numpy's."""
    result: np.ndarray = torch.matmul(torch.from_numpy(left), torch.from_numpy(right)).numpy()
    return result


def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solution of ``matrix @ x = right`` (float64), on torch's threads."""
    result: np.ndarray = torch.linalg.solve(
        torch.from_numpy(matrix), torch.from_numpy(np.ascontiguousarray(right))
    ).numpy()
    return result

"""Kernels that allocate nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core.errors import NumbaError

from celosia.dataflow.jit import inlined, lean


@pytest.mark.parametrize("decorated", [lean, inlined])
def test_what_is_lean_computes_on_its_arguments(decorated) -> None:
    def total(rows: np.ndarray) -> int:
        found = 0
        for row in rows:
            found += row[0]
        return found

    assert decorated(total)(np.arange(6).reshape(3, 2)) == 6


@pytest.mark.parametrize("decorated", [lean, inlined])
def test_what_is_lean_and_allocates_wrong(decorated) -> None:
    def copied(row: np.ndarray) -> int:
        return int(np.zeros(3)[0] + row[0])

    with pytest.raises(NumbaError, match="array passed into the function"):
        decorated(copied)(np.arange(3))

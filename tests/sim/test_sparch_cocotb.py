"""The SpArch engine between cocotbext-axi's models, with pauses on every channel of both ports."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.interpret import read_output
from celosia.dataflow.sparch.plan import Strategy
from celosia.dataflow.sparch.presets import TINY
from celosia.models.csr import from_scipy
from celosia.rtl.image import program_image
from celosia.sim.cocotb.run import run_image
from celosia.sim.product import run_product
from celosia.sim.run import Simulator


@pytest.mark.parametrize(
    ("seed", "stall", "rowwise"),
    [(0, 0.0, False), (1, 0.3, True), (2, 0.6, False), (3, 0.9, False)],
)
def test_bus_that_nobody_here_wrote_agrees(seed: int, stall: float, rowwise: bool) -> None:
    """The product is scipy's, and every counter but the cycles that of the native loop."""
    rng = np.random.default_rng(seed)
    size = 16
    places = rng.choice(size * size, size * 5, replace=False)
    values = rng.integers(-9, 10, len(places))
    matrix = scipy.sparse.csr_matrix((values, np.divmod(places, size)), (size, size))
    one = from_scipy(matrix)
    program = compile_product(one, one, TINY, Strategy(rowwise=rowwise))
    assert len(program.layers) > 1
    after, counters = run_image(TINY, program, program_image(program), stall=stall, seed=seed)
    output = read_output(TINY, program.output, after)
    dense = np.asarray(matrix.todense())
    product = np.zeros_like(dense)
    for row in range(size):
        columns = output.columns[output.starts[row] : output.starts[row + 1]]
        product[row, columns] = output.values[output.starts[row] : output.starts[row + 1]]
    assert np.array_equal(product, dense @ dense)
    assert output.nonzeros == np.count_nonzero(product)
    native = run_product(Simulator(TINY), program)
    for counter, value in counters.items():
        if counter is not SparchCounter.CYCLES:
            assert value == native.counters[counter], counter

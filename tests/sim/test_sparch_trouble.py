"""SpArch engines with memory that changes under them, and with floats that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from celosia.dataflow.memory import DDR4, IDEAL
from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.descriptors import Round
from celosia.dataflow.sparch.presets import TINY
from celosia.models.csr import Csr, from_scipy
from celosia.models.random_sparse import Pattern, random_matrix
from celosia.rtl.image import program_image
from celosia.rtl.registers import Cause
from celosia.scripts.spgemm import spgemm
from celosia.sim.driver import EngineError
from celosia.sim.product import run_product
from celosia.sim.run import Simulator

from .sparch_engines import FLOATS

SEED = 61


@pytest.fixture(scope="module")
def simulator():
    return Simulator(TINY)


@pytest.fixture(scope="module")
def program():
    """A product of several rounds."""
    rng = np.random.default_rng(SEED)
    matrix = random_matrix((40, 40), 500, rng, pattern=Pattern.NETWORK, longest=30)
    return compile_product(matrix, matrix, TINY)


def ending(simulator, program, cycles, change):
    """Run for ``cycles``, change memory, run on; return the cause of the end, None for none."""
    image = program_image(program)
    driver = simulator.driver()
    with driver.model as model:
        model.attach(image, program.base_address)
        driver.configure(program)
        model.start_memory(IDEAL)
        driver.start()
        model.run(cycles)
        change(image)
        try:
            driver.wait(400_000)
        except EngineError as error:
            return error.cause
    return None


def test_memory_that_changes_under_a_run_does_not_hang_it(simulator, program):
    rng, causes = np.random.default_rng(SEED), []
    rounds = [each for each in program.descriptors if isinstance(each, Round)]
    whole = run_product(simulator, program, IDEAL).cycles
    regions = [each.left for each in rounds] + [each.target for each in rounds[:-1]]
    regions += [rounds[0].right, program.program_address]
    for trial in range(30):
        start = regions[trial % len(regions)] - program.base_address
        hits = start + rng.integers(0, 300, rng.integers(1, 40))
        cause = ending(
            simulator, program, int(rng.integers(10, whole)),
            lambda image, hits=hits: image.__setitem__(hits, rng.integers(0, 256, len(hits))),
        )  # fmt: skip
        causes.append(cause)
    assert None in causes  # it was too late, or the product is another
    assert len(set(causes)) >= 3, f"seed {SEED}"


def test_a_partial_matrix_that_is_out_of_order_is_named(simulator, program):
    """Ones all over it: the keys do not rise, and lie beyond the round."""
    first = next(each for each in program.descriptors if isinstance(each, Round))
    start = first.target - program.base_address

    def spoil(image):
        image[start : start + 64] = 255

    whole = run_product(simulator, program, IDEAL)
    causes = {
        ending(simulator, program, whole.round_cycles[0] + 60 + extra, spoil)
        for extra in range(0, 40, 8)
    }
    assert causes & {Cause.UNSORTED_KEYS, Cause.BEYOND_ROUND}


def test_floats_that_are_no_numbers_are_those_of_numpy():
    """Products and sums of two: infinity, overflow, subnormals, NaN, bit for bit in RTL."""
    rng = np.random.default_rng(SEED)
    special = np.array(
        [np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1e-38, 1e-45, -1e-45, 1.0, -1.0, 2.5], np.float32
    )
    left, right = rng.choice(special, (24, 2)), rng.choice(special, (2, 20))
    one, other = (from_scipy(scipy.sparse.csr_array(each)) for each in (left, right))
    done = spgemm(one, other, accelerator=FLOATS, memory=DDR4)
    assert done.holds
    with np.errstate(all="ignore"):
        terms = left[:, :, None] * right[None, :, :]
        # a product that is 0 is dropped: x + 0 would be x, except for -0
        expected = np.where(
            terms[:, 0] == 0, terms[:, 1],
            np.where(terms[:, 1] == 0, terms[:, 0], terms[:, 0] + terms[:, 1]),
        )  # fmt: skip
    made = np.zeros((24, 20), np.float32)
    made[done.run.output.rows, done.run.output.columns] = done.run.output.values
    for value, wanted in zip(made.ravel(), expected.ravel(), strict=True):
        if np.isnan(wanted):
            assert value.view(np.uint32) == 0x7FC00000
        elif wanted == 0:
            assert value == 0
        else:
            assert value.view(np.uint32) == wanted.view(np.uint32)
    kinds = [np.isnan(made).sum(), np.isinf(made).sum(), ((made != 0) & (abs(made) < 1e-38)).sum()]
    assert min(kinds) > 5


def test_a_zero_that_is_stored_meets_infinity():
    """Zeros are dropped before all else: nothing comes of 0 times infinity, where scipy has NaN."""
    zero = Csr(
        shape=(1, 2), starts=np.array([0, 2]), columns=np.array([0, 1]), values=np.array([0.0, 2.0])
    )
    column = from_scipy(scipy.sparse.csr_array(np.array([[np.inf], [3.0]])))
    done = spgemm(zero, column, accelerator=FLOATS)
    assert done.holds
    assert done.result.toarray().tolist() == [[6.0]]
    scipys = zero.to_scipy() @ column.to_scipy()
    assert np.isnan(scipys.toarray()).all()

"""The closed-form access counts against a walk of the real loops."""

import random
from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.accesses import accesses, compute_accesses, post_accesses
from celosia.dataflow.array_shape import ArrayShape, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Compute, Loop, Post
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.models.formats import Fixed
from celosia.models.network import Rounding
from celosia.models.random_network import random_network

from .builders import ACCELERATORS, FORMATS
from .plain_accesses import walk_compute, walk_post, walk_program

ACCELERATOR = Accelerator(
    name="test",
    array=ArrayShape(columns=(ColumnGroup(format=Fixed(bits=4), count=8),), lanes=4, pixels=2),
    buffers=Buffers(
        activations=64, weights=64, accumulators=64, constants=64, residuals=64, outputs=64
    ),
    bus=Bus(data_bits=64),
    post_lanes=2,
)


@pytest.mark.parametrize("seed", range(40))
def test_compute_counts_equal_a_walk(seed):
    rng = random.Random(seed)
    loops = tuple(
        Loop(
            count=rng.randint(1, 4),
            activations=rng.choice([0, 0, 1, 3, 5]),
            weights=rng.choice([0, 0, 1, 2]),
            accumulators=0 if reduction else rng.choice([1, 4, 16]),
            reduction=reduction,
        )
        for reduction in rng.choices([False, True], k=rng.randint(1, 6))
    )
    compute = Compute(
        loops=loops,
        activations=rng.randrange(65536),
        weights=1,
        accumulators=2,
        activations_signed=False,
        accumulate=rng.random() < 0.3,
    )
    assert walk_compute(compute) == compute_accesses(compute)


@pytest.mark.parametrize("seed", range(40))
def test_post_counts_equal_a_walk(seed):
    rng = random.Random(seed)
    post = Post(
        window_x=rng.randint(1, 3),
        window_y=rng.randint(1, 2),
        out_x=rng.randint(1, 4),
        out_y=rng.randint(1, 3),
        pixels=rng.randint(1, 3),
        groups=rng.randint(1, 4),
        acc_window_x=1,
        acc_window_y=rng.choice([0, 5]),
        acc_out_x=rng.choice([1, 2]),
        acc_out_y=10,
        out_out_x=rng.choice([0, 1]),
        out_out_y=rng.choice([0, 4]),
        out_pixel=rng.choice([0, 12]),
        out_word=rng.choice([0, 1, 40]),
        accumulators=0,
        constants=0,
        outputs=0,
        residuals=0,
        lane_group=rng.randint(0, 1),
        low=0,
        high=255,
        rounding=Rounding.HALF_EVEN,
        residual=rng.random() < 0.8,
        residual_signed=False,
    )
    assert walk_post(post, ACCELERATOR) == post_accesses(post, ACCELERATOR)


@pytest.mark.parametrize("seed", range(6))
def test_counts_of_randomly_mapped_networks_equal_a_walk(seed):
    random = np.random.default_rng(seed)
    target = ACCELERATORS["24x12x3"]
    target = replace(target, buffers=replace(target.buffers, activations=512, activation_banks=2))
    network = random_network(seed, FORMATS)
    mapping = random_network_mapping(network, target, random, 1 + seed % 2)
    program = compile_network(network, target, mapping)
    counted = {counter: n for counter, n in accesses(program.descriptors, target).items() if n}
    assert counted == {c: n for c, n in walk_program(program.descriptors, target).items() if n}

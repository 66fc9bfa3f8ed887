"""Rows that change places: the same function, better balance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.compression.compress import compress
from celosia.models.compression.permute import balanced_order, permute_rows, reorder
from celosia.models.compression.recipe import Compression, Retraining
from celosia.models.compression.statistics import sizes
from celosia.models.formats import Codebook, Fixed
from celosia.models.golden import evaluate
from celosia.models.importer import export_model, import_program
from celosia.models.network import Network, Tensor
from celosia.models.sparse import SparseLinear, SparseMatrix

SEED = 77
PES = 8


def uneven(rng, rows, columns):
    """A mask whose rows, and PEs, differ much in their weights."""
    density = rng.beta(0.5, 2, rows)[:, None] * np.where(np.arange(rows)[:, None] % PES < 2, 2, 1)
    return rng.random((rows, columns)) < density * 0.5


def branched(rng):
    """Four layers; the second's output is the network's as well, and the third reads the first."""
    names = ("a", "b", "c", "d", "e")
    sizes_of = dict(zip(names, (60, 90, 50, 70, 30), strict=True))
    book = Codebook.of(rng.integers(-60, 60, 15), 4)
    code = Fixed(bits=8)
    ops = tuple(
        SparseLinear(
            name=f"fc_{target}", input=source, output=target,
            matrix=SparseMatrix.from_dense(
                rng.choice(book.values[book.values != 0], (sizes_of[target], sizes_of[source]))
                * uneven(rng, sizes_of[target], sizes_of[source])
            ),
            format=book, bias=rng.integers(-300, 300, sizes_of[target]), shift=5, low=0, high=127,
        )
        for source, target in (("a", "b"), ("b", "c"), ("b", "d"), ("d", "e"))
    )  # fmt: skip
    tensors = tuple(
        Tensor(name=n, shape=(sizes_of[n], 1, 1), format=code, scale=1.0) for n in names
    )
    return Network(name="n", tensors=tensors, inputs=("a",), outputs=("c", "e"), ops=ops)


def test_the_function_is_the_same_and_tensors_are_permuted():
    rng = np.random.default_rng(SEED)
    for _ in range(5):
        network = branched(rng)
        changed, orders = permute_rows(network, PES)
        assert set(orders) == {"b", "d"}  # neither inputs nor outputs
        x = {"a": rng.integers(-128, 128, (4, 60, 1, 1))}
        before, after = evaluate(network, x), evaluate(changed, x)
        for name in network.outputs:
            assert (before[name] == after[name]).all()
        for name, order in orders.items():
            assert (after[name] == before[name][:, order]).all()
            assert sorted(order.tolist()) == list(range(len(order)))


def test_balance_improves_where_rows_may_move():
    rng = np.random.default_rng(SEED + 1)
    network = branched(rng)
    changed, _ = permute_rows(network, PES)
    before = {size.name: size for size in sizes(network, pes=PES)}
    after = {size.name: size for size in sizes(changed, pes=PES)}
    for name in ("fc_b", "fc_d"):
        assert before[name].balance < 0.8
        assert after[name].balance > 0.9
        assert after[name].nonzeros == before[name].nonzeros


@pytest.mark.parametrize("rows", [1, 5, 8, 61])
def test_orders_give_each_pe_its_rows(rows):
    """Any number of rows, PEs without any included."""
    matrix = SparseMatrix.from_dense(np.arange(rows * 7).reshape(rows, 7) % 3)
    order = balanced_order(matrix, PES)
    assert sorted(order.tolist()) == list(range(rows))


def test_reorder_is_numpy_indexing():
    rng = np.random.default_rng(SEED + 2)
    dense = rng.integers(-2, 3, (9, 13))
    rows, columns = rng.permutation(9), rng.permutation(13)
    found = reorder(SparseMatrix.from_dense(dense), rows, columns)
    assert (found.dense() == dense[rows][:, columns]).all()


def test_sizes_are_to_what_was_before():
    """PReLU's doubled rows are not counted as saved."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.PReLU(6), nn.Linear(6, 4)).eval()
    graph = import_program(export_model(module, (torch.randn(1, 8, 1, 1),)), "net")
    data = np.random.default_rng(SEED).normal(size=(8, 8, 1, 1)).astype(np.float32)
    network = compress(graph, data, Compression(density=0.5), Retraining(epochs=0))
    one, two, whole = sizes(network, pes=2, before=graph)
    own = sizes(network, pes=2)
    assert (one.weights, two.weights, whole.weights) == (48, 24, 72)
    assert (own[0].weights, own[1].weights) == (96, 48)
    assert one.density == pytest.approx(0.5, abs=0.05)
    assert one.ratio == pytest.approx(32 * (48 + 6) / one.bits)
    assert (one.bits, whole.bits) == (own[0].bits, own[2].bits)


def test_sizes_add_up():
    network = branched(np.random.default_rng(SEED + 3))
    *layers, whole = sizes(network, pes=PES)
    assert whole.name == "n"
    for field in ("weights", "nonzeros", "entries", "busiest", "bits"):
        assert getattr(whole, field) == sum(getattr(layer, field) for layer in layers)
    for layer, op in zip(layers, network.ops, strict=True):
        dense = op.matrix.dense()
        assert layer.weights == dense.size
        assert layer.nonzeros == np.count_nonzero(dense)
        pointers = PES * (dense.shape[1] + 1)
        stream = 8 * layer.entries + 16 * pointers
        assert layer.bits == stream + 16 * 16 + 32 * len(dense)
        assert layer.bits_per_weight == pytest.approx(stream / layer.nonzeros)
        assert layer.ratio == pytest.approx(32 * (dense.size + len(dense)) / layer.bits)
        assert layer.density == pytest.approx((dense != 0).mean())
        assert layer.padding_share == pytest.approx(1 - layer.nonzeros / layer.entries)
        assert set(layer.as_dict()) >= {"ratio", "balance"}

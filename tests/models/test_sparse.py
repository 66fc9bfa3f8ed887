import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from celosia.dataflow.compile import compile_network
from celosia.dataflow.interpret import interpret
from celosia.dataflow.presets import preset
from celosia.models.formats import Codebook, Fixed
from celosia.models.golden import evaluate
from celosia.models.network import Network, Tensor
from celosia.models.sparse import SparseLinear, SparseMatrix
from celosia.models.storage import fingerprint, load, save

SEED = 2306


def sparse_network(rng, sizes=(13, 20, 7), density=0.3, low=0, signed=False):
    """Layers of random shared weights, one after another."""
    book = Codebook.of(rng.integers(-50, 50, 15), 4)
    fmt = Fixed(bits=8, signed=signed)
    ops = []
    for index, (columns, rows) in enumerate(itertools.pairwise(sizes)):
        dense = rng.choice(book.values, (rows, columns)) * (rng.random((rows, columns)) < density)
        ops.append(
            SparseLinear(
                name=f"fc{index}",
                input=f"t{index}",
                output=f"t{index + 1}",
                matrix=SparseMatrix.from_dense(dense),
                format=book,
                bias=rng.integers(-100, 100, rows),
                shift=4,
                low=low,
                high=127,
            )
        )
    tensors = tuple(
        Tensor(name=f"t{i}", shape=(size, 1, 1), format=fmt, scale=1.0)
        for i, size in enumerate(sizes)
    )
    last = f"t{len(ops)}"
    return Network(name="sparse", tensors=tensors, inputs=("t0",), outputs=(last,), ops=tuple(ops))


def test_golden_is_a_plain_matrix_product():
    rng = np.random.default_rng(SEED)
    network = sparse_network(rng)
    x = rng.integers(0, 128, (3, 13, 1, 1))
    got = evaluate(network, {"t0": x})
    for op in network.ops:
        sums = got[op.input][:, :, 0, 0] @ op.matrix.dense().T + op.bias
        # torch rounds halves to even.
        rounded = torch.from_numpy(sums / 16).round().numpy().clip(0, 127)
        assert (got[op.output][:, :, 0, 0] == rounded).all()


def test_golden_equals_that_of_its_dense_form():
    rng = np.random.default_rng(SEED + 1)
    network = sparse_network(rng)
    dense = replace(network, ops=tuple(op.dense() for op in network.ops))
    x = rng.integers(0, 128, (4, 13, 1, 1))
    got, expected = evaluate(network, {"t0": x}), evaluate(dense, {"t0": x})
    assert all((got[name] == expected[name]).all() for name in expected)


def test_the_dense_engine_runs_it_with_its_zeros():
    rng = np.random.default_rng(SEED + 2)
    network, x = sparse_network(rng), rng.integers(0, 128, (1, 13, 1, 1))
    program = compile_network(network, preset("tiny"))
    image = program.image.copy()
    program.placement("t0").write(image, x[0])
    image = interpret(program, image)
    golden = evaluate(network, {"t0": x})
    for name in ("t1", "t2"):
        assert (program.placement(name).read(image) == golden[name][0]).all()


def test_a_file_brings_it_back(tmp_path):
    network = sparse_network(np.random.default_rng(SEED + 3))
    save(network, tmp_path / "n.celosia")
    back = load(tmp_path / "n.celosia")
    assert fingerprint(back) == fingerprint(network)
    assert (back.ops[0].matrix.dense() == network.ops[0].matrix.dense()).all()


def test_products_are_those_of_nonzero_weights():
    network = sparse_network(np.random.default_rng(SEED + 4))
    assert network.macs == sum(np.count_nonzero(op.matrix.dense()) for op in network.ops)


def test_accumulator_bits_hold_every_sum():
    rng = np.random.default_rng(SEED + 5)
    for _ in range(20):
        op = sparse_network(rng, sizes=(9, 5)).ops[0]
        fmt = Fixed(bits=4, signed=bool(rng.integers(2)))
        dense = op.matrix.dense()
        ends = [np.where(dense > 0, fmt.high, fmt.low), np.where(dense > 0, fmt.low, fmt.high)]
        sums = [(dense * end).sum(axis=1) for end in ends]
        most = max(np.abs(s + b).max() for s in sums for b in (0, op.bias))
        assert op.bound(fmt) >= most
        assert most < 1 << op.accumulator_bits(fmt) - 1


OP = sparse_network(np.random.default_rng(SEED)).ops[0]
MATRIX = {"shape": (2, 2), "starts": np.array([0, 1, 2]), "rows": np.array([0, 1])}


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"format": Codebook(bits=1, table=(0, 1))}, ValueError, "is not a value of codebook_0_1"),
        ({"bias": OP.bias[:3]}, ValueError, "bias must have 20 entries"),
        ({"bias": OP.bias.astype(float)}, TypeError, "bias must be an int64"),
        ({"bias": OP.bias + (1 << 50)}, ValueError, "bias must fit 44 bits"),
        ({"shift": 48}, ValueError, "shift must be in 0..47, not 48"),
        ({"low": 1}, ValueError, "must be integers round 0"),
        ({"matrix": None}, TypeError, "must be a SparseMatrix"),
        ({"name": ""}, ValueError, "name must be a non-empty"),
        ({"format": "fixed8"}, TypeError, "format must be a Format"),
    ],
)
def test_layers_that_are_refused(fields, kind, message):
    with pytest.raises(kind, match=message):
        replace(OP, **fields)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"shape": (0, 2)}, ValueError, "shape must be"),
        ({"starts": np.array([0, 1])}, ValueError, "starts must rise from 0 over 3"),
        ({"starts": np.array([0, 1, 1])}, ValueError, "must have the 1 entries"),
        ({"rows": np.array([0, 2])}, ValueError, r"rows must lie in 0\.\.1"),
        ({"starts": np.array([0, 2, 2]), "rows": np.array([1, 0])}, ValueError, "rows must ascend"),
        ({"values": np.array([1, 0])}, ValueError, "must not hold 0"),
        ({"values": np.array([1.0, 2])}, TypeError, "values must be a one-dimensional int64"),
    ],
)
def test_matrices_that_are_refused(fields, kind, message):
    with pytest.raises(kind, match=message):
        SparseMatrix(**({"values": np.array([3, 4])} | MATRIX | fields))


def narrowed(network):
    tensors = list(network.tensors)
    tensors[1] = replace(tensors[1], format=Fixed(bits=4))
    return {"tensors": tuple(tensors)}


def reshaped(network):
    tensors = list(network.tensors)
    tensors[1] = replace(tensors[1], shape=(5, 1, 1))
    return {"tensors": tuple(tensors)}


def enlarged(network):
    first = network.ops[0]
    return {"ops": (replace(first, bias=first.bias + (1 << 43) - 200), *network.ops[1:])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (reshaped, r"'t1' must have shape \(20, 1, 1\)"),
        (narrowed, r"clamp 0\.\.127 must lie in"),
        (enlarged, "needs an accumulator of 45 bits"),
    ],
)
def test_networks_that_are_refused(change, message):
    network = sparse_network(np.random.default_rng(SEED))
    fields = change(network)
    with pytest.raises(ValueError, match=message):
        replace(network, **fields)

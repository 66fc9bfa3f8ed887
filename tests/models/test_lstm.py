"""Recurrent layers: tables, the golden model against other arithmetic, checks, files."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from celosia.dataflow.compile import compile_network
from celosia.dataflow.presets import preset
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.lstm import Table, sigmoid_table, tanh_table
from celosia.models.random_lstm import lstm_inputs, lstm_network
from celosia.models.storage import fingerprint, load, save

SEED = 1997
CODES = np.arange(-(1 << 15), 1 << 15)


def changed(op, **fields):
    return replace(op, **fields)


@pytest.mark.parametrize("segments", [16, 256, 4096])
def test_a_table_is_straight_lines_between_its_knots(segments):
    rng = np.random.default_rng(SEED)
    table = Table(knots=rng.integers(-(1 << 14), 1 << 14, segments + 1))
    size = 65536 // segments
    places = -(1 << 15) + np.arange(segments + 1) * size
    exact = np.interp(CODES, places, table.knots)
    found = table.look_up(CODES)
    assert (np.abs(found - exact) <= 0.5).all()
    assert (found[::size] == table.knots[:-1]).all()
    for code in rng.choice(CODES, 200).tolist():
        segment, rest = divmod(code + (1 << 15), size)
        rise = Fraction(int(table.knots[segment + 1] - table.knots[segment]) * rest, size)
        assert table.look_up(np.array(code)) == table.knots[segment] + int(
            (rise + Fraction(1, 2)) // 1
        )


@pytest.mark.parametrize(
    ("make", "function", "most"),
    [(sigmoid_table, torch.sigmoid, 1.1e-4), (tanh_table, torch.tanh, 4.4e-4)],
)
def test_the_functions_of_256_segments(make, function, most):
    """Of the window -8..8: the greatest error that docs/eie.md states."""
    exact = function(torch.from_numpy(CODES / 4096)).numpy()
    found = make(fraction=12).look_up(CODES) / 16384
    assert np.abs(found - exact).max() < most
    assert (np.diff(found) >= 0).all()


def rounded(value):
    """To the nearest integer, ties to even, as Python's own fractions do it."""
    return round(value)


def slow_lstm(op, output, x, h, c):
    """One sample in Python's integers and fractions, an element at a time."""
    weights, size = op.matrix.dense().tolist(), len(h)
    outputs, cells = [], []

    def clamp(value, bits):
        return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))

    def look(table, code):
        return int(table.look_up(np.array(code)))

    for step in zip(*x, strict=True):
        met = [*step, *h]
        z = [
            clamp(rounded(Fraction(sum(w * a for w, a in zip(row, met, strict=True)) + b,
                                   1 << op.shift)), 16)
            for row, b in zip(weights, op.bias.tolist(), strict=True)
        ]  # fmt: skip
        for k in range(size):
            i, f, o = (look(op.sigmoid, z[gate * size + k]) for gate in (0, 1, 3))
            g = look(op.tanh, z[2 * size + k])
            real = Fraction(f * c[k], 1 << 28 - op.cell_shift) + Fraction(i * g, 1 << 28)
            c[k] = clamp(rounded(real * (1 << 14 - op.cell_shift)), 16)
            shown = Fraction(o * look(op.cell_tanh, c[k]), 1 << op.output_shift)
            h[k] = max(output.low, min(output.high, rounded(shown)))
        outputs.append(list(h))
        cells.append(list(c))
    return np.array(outputs).T, np.array(cells).T


@pytest.mark.parametrize("cell_shift", [0, 3, 7])
def test_golden_equals_fractions(cell_shift):
    rng = np.random.default_rng(SEED + cell_shift)
    network = lstm_network(rng, 7, (5,), 6, cell_shift=cell_shift)
    inputs = lstm_inputs(rng, network)
    golden = evaluate(network, inputs)
    op = network.ops[0]
    h, c = (inputs[name][0, :, 0, 0].tolist() for name in (op.hidden, op.cell))
    outputs, cells = slow_lstm(op, Fixed(bits=8), inputs["t0"][0, :, :, 0].tolist(), h, c)
    assert (golden["t1"][0, :, :, 0] == outputs).all()
    assert (golden["cells0"][0, :, :, 0] == cells).all()


def test_golden_is_near_torchs_own_cell():
    rng = np.random.default_rng(SEED + 1)
    network = lstm_network(rng, 24, (16,), 20, bits=16)
    op = network.ops[0]
    op = replace(op, shift=12, output_shift=14)
    tensors = tuple(
        replace(t, scale=2.0**-14) if t.name in ("t0", "t1", "h0") else t for t in network.tensors
    )
    network = replace(network, ops=(op,), tensors=tensors)
    inputs = lstm_inputs(rng, network)
    golden = evaluate(network, inputs)
    cell = torch.nn.LSTMCell(24, 16, dtype=torch.float64)
    # z = W a / 2**shift in steps of 2**-12, a in steps of 2**-14.
    weights = torch.from_numpy(op.matrix.dense() * 2.0**-12 / 2**-14 * 2.0**-12)
    with torch.no_grad():
        cell.weight_ih.copy_(weights[:, :24])
        cell.weight_hh.copy_(weights[:, 24:])
        cell.bias_ih.copy_(torch.from_numpy(op.bias * 2.0**-24))
        cell.bias_hh.zero_()
        h, c = (
            torch.from_numpy(inputs[name][:, :, 0, 0] * scale)
            for name, scale in (("h0", 2.0**-14), ("c0", 2.0**-11))
        )
        for step in range(20):
            x = torch.from_numpy(inputs["t0"][:, :, step, 0] * 2.0**-14)
            h, c = cell(x, (h, c))
            error = np.abs(golden["t1"][0, :, step, 0] * 2.0**-14 - h.numpy()[0]).max()
            assert error < 2e-3


def test_a_sequence_in_two_parts_goes_on_where_it_ended():
    rng = np.random.default_rng(SEED + 2)
    network = lstm_network(rng, 9, (6,), 8)
    half = lstm_network(np.random.default_rng(SEED + 2), 9, (6,), 4)
    inputs = lstm_inputs(rng, network, samples=3)
    whole = evaluate(network, inputs)
    first = evaluate(half, inputs | {"t0": inputs["t0"][:, :, :4]})
    state = {"h0": first["t1"][:, :, 3:], "c0": first["cells0"][:, :, 3:]}
    second = evaluate(half, state | {"t0": inputs["t0"][:, :, 4:]})
    for name in ("t1", "cells0"):
        parts = np.concatenate([first[name], second[name]], axis=2)
        assert (parts == whole[name]).all()


def test_a_file_brings_it_back(tmp_path):
    rng = np.random.default_rng(SEED + 3)
    network = lstm_network(rng, 9, (6, 4), 3)
    path = tmp_path / "lstm.celosia"
    save(network, path)
    found = load(path)
    assert fingerprint(found) == fingerprint(network)
    inputs = lstm_inputs(rng, network)
    golden, again = evaluate(network, inputs), evaluate(found, inputs)
    assert all((golden[name] == again[name]).all() for name in golden)


def test_products_are_those_of_all_steps():
    network = lstm_network(np.random.default_rng(SEED), 9, (6,), 5)
    assert network.macs == 5 * len(network.ops[0].matrix.values)


def test_the_dense_engine_says_no():
    network = lstm_network(np.random.default_rng(SEED), 9, (6,), 5)
    with pytest.raises(CelosiaError, match="no recurrent layers: run the network on an EIE engine"):
        compile_network(network, preset("tiny"))


NETWORK = lstm_network(np.random.default_rng(SEED), 9, (6,), 5)
OP = NETWORK.ops[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"matrix": replace(OP.matrix, shape=(25, 15)), "bias": np.zeros(25, np.int64)},
         "must have 4 H rows and more than H columns, not 25 and 15"),
        ({"cell_shift": 8}, r"cell_shift must be in 0\.\.7, not 8"),
        ({"output_shift": 12}, r"output_shift must be in 13\.\.27, not 12"),
        ({"tanh": None}, "must be of type Table"),
        ({"tanh": tanh_table(fraction=12, segments=64)}, r"equally many segments, not \[256, 64"),
        ({"name": ""}, "operation name must be"),
        ({"bias": np.zeros(3, np.int64)}, "bias must have 24 entries"),
    ],
)  # fmt: skip
def test_layers_that_are_refused(fields, message):
    with pytest.raises((ValueError, TypeError), match=message):
        changed(OP, **fields)


@pytest.mark.parametrize(
    ("knots", "message"),
    [
        (np.zeros(19, np.int64), "not 19"),
        (np.full(17, 1 << 15), r"knots\[0\] must be in -32768\.\.32767, not 32768"),
        (np.array([-32768, 32767] * 8 + [0]), r"steps between knots\[0\] must be in"),
    ],
)
def test_tables_that_are_refused(knots, message):
    with pytest.raises(ValueError, match=message):
        Table(knots=knots)


def with_tensor(name, **fields):
    return tuple(replace(t, **fields) if t.name == name else t for t in NETWORK.tensors)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (with_tensor("t1", shape=(6, 4, 1)), r"'t1' must have shape \(6, 5, 1\), not \(6, 4, 1\)"),
        (with_tensor("h0", shape=(7, 1, 1)), r"'h0' must have shape \(6, 1, 1\)"),
        (with_tensor("c0", scale=1.0), r"'c0' must be fixed16 x 0\.00048828125, not fixed16 x 1"),
        (with_tensor("cells0", format=Fixed(bits=15)), "'cells0' must be fixed16 x"),
        (with_tensor("h0", format=Fixed(bits=9)), "'h0' must be fixed8"),
        (with_tensor("t1", format=Fixed(bits=8, signed=False)), "'t1' must have a sign"),
        (with_tensor("t0", format=Fixed(bits=16, signed=False)), "'t0' must fit 16 bits with a"),
    ],
)
def test_networks_that_are_refused(tensors, message):
    with pytest.raises(ValueError, match=message):
        replace(NETWORK, tensors=tensors)


def test_sums_that_are_too_wide():
    """As of any layer: 44 bits are the most."""
    op = changed(OP, bias=np.full(24, (1 << 43) - 1, np.int64))
    with pytest.raises(ValueError, match=r"needs an accumulator of 4[5-9] bits"):
        replace(NETWORK, ops=(op,))

"""LSTMs with real weights as networks of recurrent layers, against PyTorch's own."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models import silero
from celosia.models.compression.lstm import (
    LstmWeights,
    compress_lstm,
    lstm_codes,
    lstm_weights,
    run_float,
)
from celosia.models.compression.recipe import Balance, Compression
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Fixed
from celosia.models.golden import evaluate
from celosia.models.lstm import Lstm

SEED = 97
FINE = Compression(
    density=1.0, clusters=None, weight_bits=16, activation_bits=16, accumulator_bits=44
)


def module_of(layers=2, inputs=12, states=10):
    torch.manual_seed(SEED)
    return nn.LSTM(inputs, states, num_layers=layers)


def sequence_of(module, steps=20):
    return np.random.default_rng(SEED).normal(0, 1, (steps, module.input_size))


def outputs_of(network, sequence):
    golden = evaluate(network, lstm_codes(network, sequence))
    tensor = network.tensor(network.outputs[0])
    return golden[tensor.name][0, :, :, 0].T * tensor.scale


def test_layers_are_torchs():
    module = module_of()
    sequence = sequence_of(module)
    with torch.no_grad():
        expected, _ = module(torch.from_numpy(sequence).to(torch.float32))
    found = run_float(lstm_weights(module.state_dict()), sequence)
    assert np.abs(found[-1] - expected.numpy()).max() < 1e-5


def test_sixteen_bits_are_near_the_float_model():
    module = module_of()
    sequence = sequence_of(module)
    network = compress_lstm(lstm_weights(module.state_dict()), sequence, FINE)
    with torch.no_grad():
        expected, _ = module(torch.from_numpy(sequence).to(torch.float32))
    assert np.abs(outputs_of(network, sequence) - expected.numpy()).max() < 5e-3


def test_a_cell_alone_and_any_prefix():
    torch.manual_seed(SEED)
    cell = nn.LSTMCell(6, 5)
    (layer,) = lstm_weights({f"net.rnn.{name}": t for name, t in cell.state_dict().items()})
    assert layer.states == 5
    torch.testing.assert_close(layer.inputs, cell.weight_ih.detach().double().numpy())
    (plain,) = lstm_weights(nn.LSTM(6, 5, bias=False).state_dict())
    assert not plain.bias.any()


@pytest.mark.parametrize("density", [0.3, 1.0])
def test_shared_values_and_masks(density):
    module = module_of(layers=1, inputs=32, states=24)
    sequence = sequence_of(module, 40)
    layers = lstm_weights(module.state_dict())
    recipe = Compression(
        density=density, clusters=16, activation_bits=16, accumulator_bits=40,
    )  # fmt: skip
    network = compress_lstm(layers, sequence, recipe, steps=7)
    op = network.ops[0]
    assert isinstance(op, Lstm)
    assert isinstance(op.format, Codebook)
    assert op.matrix.density == pytest.approx(density, abs=0.01)
    assert len(np.unique(op.matrix.values)) <= 15
    assert network.tensor("x").shape == (32, 7, 1)
    assert op.linear.accumulator_bits(Fixed(bits=16)) <= 40


def test_what_meets_nothing_goes_first():
    """Columns whose inputs are always 0 are pruned, however large their weights."""
    module = module_of(layers=1)
    sequence = sequence_of(module)
    sequence[:, :6] = 0
    recipe = replace(FINE, density=0.5)
    op = compress_lstm(lstm_weights(module.state_dict()), sequence, recipe).ops[0]
    assert isinstance(op, Lstm)
    assert not op.matrix.dense()[:, :6].any()


def test_balanced_masks():
    module = module_of(layers=1, inputs=16, states=16)
    recipe = replace(FINE, density=0.25, balance=Balance(pes=4, window=32))
    op = compress_lstm(lstm_weights(module.state_dict()), sequence_of(module), recipe).ops[0]
    assert isinstance(op, Lstm)
    counts = np.bincount(op.matrix.rows % 4, minlength=4)
    assert np.ptp(counts) <= 1


def test_outputs_whose_code_is_worth_little_have_fewer_bits():
    """So that weights of inputs and of outputs are of one size."""
    (layer,) = lstm_weights(module_of(layers=1).state_dict())
    sequence = sequence_of(module_of(layers=1))
    shifts = []
    for factor in (1.0, 64.0):
        op = compress_lstm((layer,), sequence * factor, FINE).ops[0]
        assert isinstance(op, Lstm)
        shifts.append(op.output_shift)
    assert shifts[1] - shifts[0] == 6


STATE = module_of(layers=1).state_dict()
(BASE,) = lstm_weights(STATE)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, r"holds 0 LSTMs \(none\)"),
        ({f"{p}.{n}": t for p in "ab" for n, t in STATE.items()}, r"2 LSTMs \('a\.', 'b\.'\)"),
        (nn.LSTM(3, 2, bidirectional=True).state_dict(), "two directions or with projections"),
        (nn.LSTM(3, 2, proj_size=1).state_dict(), "two directions or with projections"),
        ({"weight_ih_l0": STATE["weight_ih_l0"]}, "weight_hh is missing"),
        (STATE | {"weight_hh_l0": torch.zeros(40, 9)}, r"hidden must have shape \(36, 9\)"),
        (STATE | {"bias_ih_l0": torch.full((40,), torch.nan)}, "bias must be finite"),
        (STATE | {"weight_hh_l0": torch.tensor(1.0)}, r"hidden must be a matrix, .* shape \(\)"),
        (STATE | {"weight_ih_l0": torch.tensor(1.0)}, r"inputs must be a matrix, .* shape \(\)"),
        (STATE | {"weight_ih_l0": torch.zeros(40, 0)}, r"inputs must be .* not empty: .*\(40, 0\)"),
    ],
)
def test_states_that_are_refused(state, message):
    with pytest.raises(CelosiaError, match=message):
        lstm_weights(state)


@pytest.mark.parametrize(
    ("sequence", "recipe", "message"),
    [
        (np.zeros((5, 11)), FINE, r"sequences of shape \(steps, 12\), given is \(5, 11\)"),
        (np.zeros((0, 12)), FINE, r"given is \(0, 12\)"),
        (np.full((5, 12), np.inf), FINE, "must be finite"),
        (np.ones((5, 12)), replace(FINE, accumulator_bits=16), "'l0' fits no integers"),
        (np.ones((5, 12)), replace(FINE, densities={"l1": 0.5}), "layer 'l1', the LSTM has 'l0'"),
    ],
)
def test_sequences_and_recipes_that_are_refused(sequence, recipe, message):
    with pytest.raises(CelosiaError, match=message):
        compress_lstm(lstm_weights(STATE), sequence, recipe)


def test_layers_that_do_not_fit_one_another_are_refused():
    with pytest.raises(CelosiaError, match="layer 'l1' takes 12 inputs, the one before has 10"):
        compress_lstm((BASE, BASE), np.ones((5, 12)), FINE)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_plain_weights_of_few_bits(bits):
    """Whether or not the largest weight reaches the largest integer."""
    for factor in np.linspace(1, 2, 8):
        layer = LstmWeights(
            **{field: getattr(BASE, field) * factor for field in ("inputs", "hidden", "bias")}
        )
        recipe = replace(FINE, weight_bits=bits)
        op = compress_lstm((layer,), sequence_of(module_of(layers=1)), recipe).ops[0]
        assert isinstance(op, Lstm)
        assert op.format == Fixed(bits=bits)
        assert 2 * np.abs(op.matrix.values).max() >= (1 << bits - 1) - 1


def test_gates_far_below_0_are_0():
    layer = LstmWeights(inputs=np.full((4, 1), -1e4), hidden=np.zeros((4, 1)), bias=np.zeros(4))
    outputs, cells = layer.run(np.ones((2, 1)), np.zeros(1), np.zeros(1))
    assert not outputs.any()
    assert not cells.any()


def test_shapes_of_weights():
    with pytest.raises(ValueError, match=r"inputs must have shape \(8, 3\), not \(7, 3\)"):
        LstmWeights(inputs=np.zeros((7, 3)), hidden=np.zeros((8, 2)), bias=np.zeros(8))


def test_without_its_package_silero_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(CelosiaError, match="pip install --no-deps silero-vad==6"):
        silero.silero()


NAMES = {
    "stft.forward_basis_buffer": "stft_conv.weight",
    "decoder.decoder.2.": "final_conv.",
    "decoder.rnn.": "lstm_cell.",
    **{f"encoder.{i}.reparam_conv.": f"conv{i + 1}." for i in range(4)},
}
"""What the package's ONNX model, of other weights, calls the tensors of its safetensors file."""


def test_silero_computes_what_its_own_onnx_model_does():
    """Encoder, LSTM and decoder in floats, with that model's weights, against another program."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="an independent reference")
    onnx = pytest.importorskip("onnx", reason="an independent reference")
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        pytest.skip("silero-vad is not installed")
    path = Path(spec.origin).parent / "data" / "silero_vad_16k_op15.onnx"
    tensors = {}
    for initializer in onnx.load(path).graph.initializer:
        for theirs, ours in NAMES.items():
            name = initializer.name.removeprefix("model.")
            if name.startswith(theirs):
                values = onnx.numpy_helper.to_array(initializer).astype(np.float64)
                tensors[ours + name.removeprefix(theirs)] = values
    assert set(tensors) == set(silero.silero().tensors)
    detector, wave = silero.Silero(tensors=tensors), silero.spoken(0.64)
    found = detector.decode(run_float(detector.lstm, detector.encode(wave))[-1])
    session = onnxruntime.InferenceSession(path)
    state = np.zeros((2, 1, 128), np.float32)
    whole = np.pad(wave, (silero.CONTEXT, 0)).astype(np.float32)
    expected = []
    for start in range(0, len(wave), silero.FRAME):
        frame = whole[None, start : start + silero.CONTEXT + silero.FRAME]
        given = {"input": frame, "state": state, "sr": np.array(silero.RATE)}
        probability, state = session.run(None, given)
        expected.append(float(probability[0, 0]))
    assert np.abs(found - expected).max() < 1e-4

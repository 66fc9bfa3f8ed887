"""From the real weights of an LSTM to an integer-exact network of recurrent layers for EIE.

PyTorch's ``nn.LSTM`` and ``nn.LSTMCell`` are read from their state dictionaries: one direction, any
number of layers. Weights are pruned and share values, or are plain ones of few bits; nothing is
retrained. Those are pruned that matter least: magnitude times the root mean square of what the
column meets in calibration (Sun et al., "A Simple and Effective Pruning Approach for Large Language
Models", 2023), as inputs are often 0 and outputs small.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from celosia.models.compression.prune import balanced_mask, magnitude_mask
from celosia.models.compression.recipe import Compression
from celosia.models.compression.share import cluster, nearest
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Fixed, Format
from celosia.models.lstm import (
    CELL_FORMAT,
    CODE_BITS,
    GATES,
    MAX_CELL_SHIFT,
    TABLE_FRACTION,
    Lstm,
    sigmoid_table,
    tanh_table,
)
from celosia.models.network import MAX_SHIFT, Network, Tensor
from celosia.models.sparse import SparseMatrix

GATE_FRACTION = 12
"""Bits after the point of a gate's sum: -8 to 8, beyond which sigmoid and tanh are flat."""

CELL_ROOM = 1.25
"""How much larger than those of calibration cells may become before they are clamped."""

LEAST = 7
"""What the largest weight of a layer is at least, in integers: smaller ones would all be 0."""

_NAME = re.compile(
    r"(?P<stem>.*?)(?P<kind>weight_ih|weight_hh|bias_ih|bias_hh)(?P<layer>_l[0-9]+)?"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LstmWeights:
    """Real weights of one layer, float64: ``inputs`` (4 H, I), ``hidden`` (4 H, H), ``bias`` (4 H).

    Rows are those of the input, forget, cell and output gate. ``bias`` is the sum of PyTorch's two.
    """

    inputs: np.ndarray
    hidden: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        for field in ("inputs", "hidden"):
            shape = getattr(self, field).shape
            if len(shape) != 2 or not min(shape):
                raise ValueError(f"{field} must be a matrix, and not empty: it has shape {shape}")
        states = self.hidden.shape[-1]
        rows = GATES * states
        for field, shape in (
            ("hidden", (rows, states)), ("inputs", (rows, self.inputs.shape[-1])),
            ("bias", (rows,)),
        ):  # fmt: skip
            value = getattr(self, field)
            if value.shape != shape:
                raise ValueError(f"{field} must have shape {shape}, not {value.shape}")
            if not np.isfinite(value).all():
                raise ValueError(f"{field} must be finite")

    @property
    def states(self) -> int:
        """``H``."""
        return int(self.hidden.shape[1])

    def run(
        self, sequence: np.ndarray, hidden: np.ndarray, cell: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the states h and c, (T, H), for real inputs (T, I)."""
        outputs, cells = [], []
        for values in sequence:
            z = self.inputs @ values + self.hidden @ hidden + self.bias
            with np.errstate(over="ignore"):  # of what is far below 0 the sigmoid is 0
                each = 1 / (1 + np.exp(-z))
            take, keep, _, give = np.split(each, GATES)
            cell = keep * cell + take * np.tanh(np.split(z, GATES)[2])
            hidden = give * np.tanh(cell)
            outputs.append(hidden)
            cells.append(cell)
        return np.array(outputs), np.array(cells)


def lstm_weights(state: Mapping[str, torch.Tensor | np.ndarray]) -> tuple[LstmWeights, ...]:
    """Return the layers of an LSTM in a state dictionary, whatever comes before its names.

    Raises :class:`CelosiaError` if there is no LSTM, or more than one, or a tensor of it is missing
    or does not fit, or if it has two directions or projections.
    """
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name, value in state.items():
        if name.endswith("_reverse") or "weight_hr" in name:
            raise CelosiaError(
                f"tensor {name!r}: an LSTM of two directions or with projections is not taken: "
                "give one direction's state alone, without projections"
            )
        match = _NAME.fullmatch(name)
        if match is not None:
            array = value.detach().numpy() if isinstance(value, torch.Tensor) else value
            key = match["stem"], match["layer"] or ""
            found.setdefault(key, {})[match["kind"]] = np.asarray(array, np.float64)
    stems = sorted({stem for stem, _ in found})
    if len(stems) != 1:
        raise CelosiaError(
            f"the state holds {len(stems)} LSTMs ({', '.join(map(repr, stems)) or 'none'}), it "
            "must be one: weight_ih_l0, weight_hh_l0 and so on, with any prefix"
        )
    ordered = sorted(found.items(), key=lambda item: int(item[0][1][2:] or 0))
    return tuple(_layer("".join(key), tensors) for key, tensors in ordered)


def _layer(name: str, tensors: Mapping[str, np.ndarray]) -> LstmWeights:
    missing = {"weight_ih", "weight_hh"} - set(tensors)
    if missing:
        raise CelosiaError(f"LSTM layer {name!r}: {', '.join(sorted(missing))} is missing")
    bias = np.zeros(tensors["weight_hh"].shape[:1])
    try:
        for kind in ("bias_ih", "bias_hh"):
            bias = bias + tensors.get(kind, 0.0)
        return LstmWeights(inputs=tensors["weight_ih"], hidden=tensors["weight_hh"], bias=bias)
    except ValueError as error:
        raise CelosiaError(f"LSTM layer {name!r}: {error}") from error


def run_float(layers: Sequence[LstmWeights], sequence: np.ndarray) -> list[np.ndarray]:
    """Return the states h of each layer, (T, H), for real inputs (T, I), from states of 0 on."""
    found: list[np.ndarray] = []
    for layer in layers:
        zeros = np.zeros(layer.states)
        sequence, _ = layer.run(sequence, zeros, zeros)
        found.append(sequence)
    return found


def compress_lstm(
    layers: Sequence[LstmWeights],
    sequence: np.ndarray,
    recipe: Compression,
    *,
    steps: int | None = None,
    name: str = "lstm",
    segments: int = 256,
) -> Network:
    """Compress an LSTM, without retraining.

    Parameters
    ----------
    layers
        The first layer's inputs are the sequence's, a further one's the outputs before it.
    sequence
        Real inputs for calibration, float (T, I): the scale of inputs, and the range of cells, are
        found on it, from states of 0 on.
    recipe
        ``densities`` are by layer, ``l0``, ``l1`` ... . Masks that are balanced stay so on the
        engine where the number of states is a multiple of the PEs.
    steps
        Of the network; as many as of ``sequence`` by default.
    name
        Of the network.
    segments
        Of its tables.

    Returns
    -------
    The network: input ``x`` (I, steps, 1), states before the first step ``h0``, ``c0``, ``h1`` ...,
    outputs ``y0`` ... (H, steps, 1), the last of them that of the network, and cells ``cells0`` ...

    Raises
    ------
    CelosiaError
        If the sequence does not fit the layers, or one layer the one before, or a layer no
        integers, or a density is of a layer that is not there.
    """
    sequence = np.asarray(sequence, np.float64)
    inputs = layers[0].inputs.shape[1]
    if sequence.ndim != 2 or sequence.shape[1] != inputs or not len(sequence):
        raise CelosiaError(
            f"the LSTM takes sequences of shape (steps, {inputs}), given is {sequence.shape}"
        )
    if not np.isfinite(sequence).all():
        raise CelosiaError("the sequence for calibration must be finite")
    _check_layers(layers, recipe)
    steps = len(sequence) if steps is None else steps
    bits = recipe.activation_bits
    signed = bool((sequence < 0).any()) or bits == CODE_BITS
    code = Fixed(bits=bits, signed=signed)
    scale = max(float(np.abs(sequence).max()), 1e-30) / code.high
    source = Tensor(name="x", shape=(inputs, steps, 1), format=code, scale=scale)
    tensors, ops, names = [source], [], ["x"]
    for number, layer in enumerate(layers):
        op, sequence = _quantised(layer, number, source, sequence, recipe, segments)
        states = layer.states, steps, 1
        cell = Tensor(name=op.cells, shape=states, format=CELL_FORMAT, scale=op.cell_scale)
        source = Tensor(
            name=op.output, shape=states, format=Fixed(bits=bits), scale=op.output_scale
        )
        before = layer.states, 1, 1
        tensors += [
            replace(source, name=op.hidden, shape=before),
            replace(cell, name=op.cell, shape=before),
            cell,
            source,
        ]
        names += [op.hidden, op.cell]
        ops.append(op)
    return Network(
        name=name,
        tensors=tuple(tensors),
        inputs=tuple(names),
        outputs=(source.name,),
        ops=tuple(ops),
    )


def _check_layers(layers: Sequence[LstmWeights], recipe: Compression) -> None:
    """Refuse layers that do not fit one another, and densities of others."""
    for number, (before, layer) in enumerate(itertools.pairwise(layers), 1):
        if layer.inputs.shape[1] != before.states:
            raise CelosiaError(
                f"LSTM layer 'l{number}' takes {layer.inputs.shape[1]} inputs, the one before has "
                f"{before.states} outputs"
            )
    names = [f"l{number}" for number in range(len(layers))]
    for name in recipe.densities:
        if name not in names:
            raise CelosiaError(
                f"there is a density for a layer {name!r}, the LSTM has "
                f"{', '.join(map(repr, names))}"
            )


def _cell_shift(cells: np.ndarray) -> int:
    """Return how far cells reach: to ``2**(1 + shift)``."""
    most = max(float(np.abs(cells).max()) * CELL_ROOM, 1e-30)
    return int(np.clip(np.ceil(np.log2(most)) - 1, 0, MAX_CELL_SHIFT))


def _output_shift(weights: np.ndarray, source: Tensor, bits: int) -> int:
    """Return the shift of outputs, whose codes lie within ``bits`` bits and have at least 8.

    Weights of inputs and of outputs are rounded alike and stand for codes. Where an output's code
    is worth so little that its weights would be much smaller, it has fewer bits after the point.
    """
    shift, inputs = 2 * TABLE_FRACTION + 1 - bits, source.shape[0]
    reach = float(np.abs(weights[:, :inputs]).max()) * source.scale
    own = float(np.abs(weights[:, inputs:]).max()) * 2.0 ** (shift - 2 * TABLE_FRACTION)
    more = int(np.log2(max(reach / max(own, 1e-30), 1.0)))
    return shift + min(more, max(bits - 8, 0))


def _pruned(
    weights: np.ndarray, met: np.ndarray, density: float, recipe: Compression
) -> np.ndarray:
    """Return ``weights`` (4 H, I + H) with those as 0 that do least to what they meet.

    ``met`` are real vectors, (T, I + H).
    """
    weight = np.abs(weights) * np.sqrt((met**2).mean(axis=0) + 1e-30)
    if recipe.balance is not None:
        return np.where(balanced_mask(weight, density, recipe.balance), weights, 0.0)
    return np.where(magnitude_mask(weight, density), weights, 0.0)


def _quantised(
    layer: LstmWeights,
    number: int,
    source: Tensor,
    sequence: np.ndarray,
    recipe: Compression,
    segments: int,
) -> tuple[Lstm, np.ndarray]:
    """Return a layer in integers, and its real outputs for the real ``sequence``."""
    name = f"l{number}"
    zeros = np.zeros(layer.states)
    outputs, cells = layer.run(sequence, zeros, zeros)
    cell_shift = _cell_shift(cells)
    met = np.concatenate([sequence, np.vstack([zeros, outputs[:-1]])], axis=1)
    weights = np.concatenate([layer.inputs, layer.hidden], axis=1)
    weights = _pruned(weights, met, recipe.density_of(name), recipe)
    output_shift = _output_shift(weights, source, recipe.activation_bits)
    # In steps of a gate's sum for each code of an input or an output.
    scales = np.full(weights.shape[1], 2.0 ** (output_shift - 2 * TABLE_FRACTION))
    scales[: sequence.shape[1]] = source.scale
    steps = weights * scales * 2.0**GATE_FRACTION
    if recipe.clusters is not None:
        kept = steps != 0
        centroids = cluster(steps[kept], recipe.clusters - 1, recipe.start, recipe.seed)
        steps[kept] = centroids[nearest(steps[kept], centroids)]
    activation = max(source.format.high, 1 << recipe.activation_bits - 1)
    whole = _integers(name, steps, layer.bias * 2.0**GATE_FRACTION, activation, recipe)
    fmt: Format = Fixed(bits=recipe.weight_bits)
    if recipe.clusters is not None:
        fmt = Codebook.of(whole.values, recipe.code_bits)
    op = Lstm(
        name=name,
        input=source.name,
        hidden=f"h{number}",
        cell=f"c{number}",
        output=f"y{number}",
        cells=f"cells{number}",
        matrix=SparseMatrix.from_dense(whole.values),
        format=fmt,
        bias=whole.bias,
        shift=whole.shift,
        sigmoid=sigmoid_table(fraction=GATE_FRACTION, segments=segments),
        tanh=tanh_table(fraction=GATE_FRACTION, segments=segments),
        cell_tanh=tanh_table(fraction=TABLE_FRACTION - cell_shift, segments=segments),
        cell_shift=cell_shift,
        output_shift=output_shift,
    )
    return op, outputs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Integers:
    """Weights (4 H, I + H) and biases (4 H,) times ``2**shift``, int64."""

    values: np.ndarray
    bias: np.ndarray
    shift: int


def _integers(
    name: str, steps: np.ndarray, bias: np.ndarray, activation: int, recipe: Compression
) -> _Integers:
    """Return weights and biases with the largest shift that values and sums allow.

    ``activation`` is the greatest magnitude of any code that a weight meets.
    """
    limit = (1 << recipe.value_bits - 1) - 1
    most = max(float(np.abs(steps).max()), 1e-30)
    highest = int(np.floor(np.log2(limit / most)))
    if recipe.clusters is None:
        # One more bit below clips the largest weights.
        highest = min((highest, highest + 1), key=lambda shift: _error(steps, shift, limit))
    lowest = max(0, min(highest, int(np.ceil(np.log2(LEAST / most)))))
    for shift in range(min(highest, MAX_SHIFT), lowest - 1, -1):
        values = np.rint(steps * 2.0**shift).clip(-limit, limit).astype(np.int64)
        biases = np.rint(bias * 2.0**shift).astype(np.int64)
        sums = np.abs(values).sum(axis=1) * activation + np.abs(biases)
        if int(sums.max()).bit_length() + 1 <= recipe.accumulator_bits:
            return _Integers(values=values, bias=biases, shift=shift)
    raise CelosiaError(
        f"LSTM layer {name!r} fits no integers: its weights reach {most:.3g} steps of a gate's "
        f"sum for each code, and sums may have {recipe.accumulator_bits} bits: take more of "
        "them (accumulator_bits), or activations of fewer (activation_bits)"
    )


def _error(weights: np.ndarray, shift: int, limit: int) -> float:
    rounded = np.rint(weights * 2.0**shift).clip(-limit, limit) * 2.0**-shift
    return float(((weights - rounded) ** 2).sum())


def lstm_codes(network: Network, sequence: np.ndarray) -> dict[str, np.ndarray]:
    """Return the codes of all inputs of a network of :func:`compress_lstm`: one sample.

    ``sequence`` are real inputs (T, I); states before the first step are 0.
    """
    tensor = network.tensor("x")
    codes = np.rint(np.asarray(sequence, np.float64).T / tensor.scale)
    inputs = {name: np.zeros((1, *network.tensor(name).shape), np.int64) for name in network.inputs}
    clamped = codes.clip(tensor.format.low, tensor.format.high).astype(np.int64)
    return inputs | {"x": clamped[None, :, :, None]}

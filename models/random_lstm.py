"""Random networks of recurrent layers, and inputs for them. Imports numpy only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from celosia.models.formats import Codebook, Fixed, Format
from celosia.models.lstm import CELL_FORMAT, Lstm, sigmoid_table, tanh_table
from celosia.models.network import Network, Tensor
from celosia.models.sparse import SparseMatrix


def lstm_network(
    rng: np.random.Generator,
    inputs: int,
    states: tuple[int, ...],
    steps: int,
    *,
    density: float = 0.4,
    bits: int = 8,
    fmt: Format | None = None,
    segments: int = 256,
    cell_shift: int = 3,
) -> Network:
    """Return layers of ``states`` elements one after another, of random weights."""
    fmt = fmt or Codebook.of(rng.integers(-120, 120, 15), 4)
    code = Fixed(bits=bits)
    tensors = [Tensor(name="t0", shape=(inputs, steps, 1), format=code, scale=1.0)]
    ops = []
    for number, count in enumerate(states):
        columns = tensors[-1].shape[0] if not number else states[number - 1]
        shape = 4 * count, columns + count
        op = Lstm(
            name=f"lstm{number}",
            input=f"t{number}",
            hidden=f"h{number}",
            cell=f"c{number}",
            output=f"t{number + 1}",
            cells=f"cells{number}",
            matrix=SparseMatrix.from_dense(
                rng.choice(fmt.values, shape) * (rng.random(shape) < density)
            ),
            format=fmt,
            bias=rng.integers(-3000, 3000, 4 * count),
            shift=1,
            sigmoid=sigmoid_table(fraction=12, segments=segments),
            tanh=tanh_table(fraction=12, segments=segments),
            cell_tanh=tanh_table(fraction=14 - cell_shift, segments=segments),
            cell_shift=cell_shift,
            output_shift=29 - bits,
        )
        ops.append(op)
        output = Tensor(name=op.output, shape=(count, steps, 1), format=code, scale=op.output_scale)
        cells = Tensor(
            name=op.cells, shape=(count, steps, 1), format=CELL_FORMAT, scale=op.cell_scale
        )
        tensors += [
            replace(output, name=op.hidden, shape=(count, 1, 1)),
            replace(cells, name=op.cell, shape=(count, 1, 1)),
            cells,
            output,
        ]
    names = tuple(name for number in range(len(states)) for name in (f"h{number}", f"c{number}"))
    return Network(
        name="recurrent",
        tensors=tuple(tensors),
        inputs=("t0", *names),
        outputs=(f"t{len(states)}",),
        ops=tuple(ops),
        trained=False,
    )


def lstm_inputs(
    rng: np.random.Generator, network: Network, samples: int = 1, met: float = 0.7
) -> dict[str, np.ndarray]:
    """Return codes of all inputs, of the sequence a share of ``met`` not 0."""
    codes = {}
    for name in network.inputs:
        tensor = network.tensor(name)
        low, high = tensor.format.low, tensor.format.high
        values = rng.integers(low, high + 1, (samples, *tensor.shape))
        codes[name] = values * (rng.random(values.shape) < met)
    return codes

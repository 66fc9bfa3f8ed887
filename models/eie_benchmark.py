"""The nine layers of EIE's evaluation, random at their published sizes and densities.

Table III of "EIE: Efficient Inference Engine on Compressed Deep Neural Network" (ISCA 2016); times
are its Table IV's. The pruned networks themselves were never published, so masks are random, each
weight there or not on its own, or *balanced*: each PE has equally many weights of each column, as
pruning under that constraint leaves them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.models.formats import Codebook, Fixed, Format
from celosia.models.network import Network, Tensor
from celosia.models.sparse import SparseLinear, SparseMatrix

SEED = 1602
_CHUNK = 1 << 22
"""Elements of a matrix that are drawn at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkLayer:
    """One layer: ``inputs`` x ``outputs``, densities, the paper's time in microseconds."""

    name: str
    inputs: int
    outputs: int
    weight_density: float
    activation_density: float
    paper_us: float


def _layer(
    name: str, size: tuple[int, int], weights: float, acts: float, us: float
) -> BenchmarkLayer:
    return BenchmarkLayer(
        name=name,
        inputs=size[0],
        outputs=size[1],
        weight_density=weights,
        activation_density=acts,
        paper_us=us,
    )


LAYERS = (
    _layer("Alex-6", (9216, 4096), 0.09, 0.351, 30.3),
    _layer("Alex-7", (4096, 4096), 0.09, 0.353, 12.2),
    _layer("Alex-8", (4096, 1000), 0.25, 0.375, 9.9),
    _layer("VGG-6", (25088, 4096), 0.04, 0.183, 34.4),
    _layer("VGG-7", (4096, 4096), 0.04, 0.375, 8.7),
    _layer("VGG-8", (4096, 1000), 0.23, 0.411, 8.4),
    _layer("NT-We", (4096, 600), 0.10, 1.0, 8.0),
    _layer("NT-Wd", (600, 8791), 0.11, 1.0, 13.9),
    _layer("NT-LSTM", (1201, 2400), 0.10, 1.0, 7.5),
)
"""In the order of the paper's tables."""


def random_places(rng: np.random.Generator, size: int, density: float) -> np.ndarray:
    """Return which of ``size`` elements are there, each on its own with probability ``density``.

    Ascending int64. The gaps between them are geometric, so no element is drawn that is not there.
    """
    found: list[np.ndarray] = []
    last = -1
    while last < size:
        gaps = rng.geometric(density, int(_CHUNK * density) + 16)
        places = last + np.cumsum(gaps)
        found.append(places)
        last = int(places[-1])
    places = np.concatenate(found)
    return places[places < size]


def balanced_mask(
    rng: np.random.Generator, rows: int, columns: int, density: float, pes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return columns and rows, by column, of a mask of which each PE has its equal share.

    A column has as many elements as chance gives it; each PE has the same number of them or one
    more, and those with one more follow each other from column to column, so the PEs' totals differ
    by one at most as long as each has enough rows.
    """
    local = -(-rows // pes)
    there = (np.arange(local) * pes + np.arange(pes)[:, None]) < rows
    wanted = rng.binomial(rows, density, columns)
    begins = np.cumsum(wanted) - wanted
    order = (np.arange(pes) - begins[:, None]) % pes
    quota = wanted[:, None] // pes + (order < (wanted % pes)[:, None])
    found_columns, found_rows = [], []
    step = max(1, _CHUNK // (local * pes))
    for first in range(0, columns, step):
        part = quota[first : first + step]
        keys = np.where(there, rng.random((len(part), pes, local), np.float32), np.inf)
        ranks = keys.argsort(axis=2).argsort(axis=2)
        column, pe, row = np.nonzero((ranks < part[:, :, None]) & there)
        rows_found = row * pes + pe
        sort = np.lexsort((rows_found, column))
        found_columns.append(column[sort] + first)
        found_rows.append(rows_found[sort])
    return np.concatenate(found_columns), np.concatenate(found_rows)


def benchmark_network(
    layer: BenchmarkLayer, fmt: Format | None = None, *, balanced: int | None = None
) -> tuple[Network, np.ndarray]:
    """Return a network of one layer and its input's codes, (1, inputs, 1, 1), the same each time.

    As many activations are not 0 as the published density says, to the nearest.

    Parameters
    ----------
    layer
        What to make.
    fmt
        Of the weights; a random codebook of 4 bits by default.
    balanced
        Over how many PEs the mask is balanced; a mask by chance alone where it is None.
    """
    rng = np.random.default_rng([SEED, sum(map(ord, layer.name))])
    if fmt is None:
        fmt = Codebook.of(rng.choice(np.setdiff1d(np.arange(-127, 128), [0]), 15, False), 4)
    shape = layer.outputs, layer.inputs
    if balanced is None:
        places = random_places(rng, layer.inputs * layer.outputs, layer.weight_density)
        columns, rows = np.divmod(places, layer.outputs)
    else:
        columns, rows = balanced_mask(rng, *shape, layer.weight_density, balanced)
    nonzero = fmt.values[fmt.values != 0]
    matrix = SparseMatrix(
        shape=shape,
        starts=np.searchsorted(columns, np.arange(layer.inputs + 1)).astype(np.int64),
        rows=rows.astype(np.int64),
        values=rng.choice(nonzero, len(rows)),
    )
    code = Fixed(bits=8, signed=False)
    op = SparseLinear(
        name=layer.name,
        input="input",
        output="output",
        matrix=matrix,
        format=fmt,
        bias=rng.integers(-1000, 1000, layer.outputs),
        shift=10,
        low=0,
        high=code.high,
    )
    tensors = tuple(
        Tensor(name=name, shape=(size, 1, 1), format=code, scale=1.0)
        for name, size in (("input", layer.inputs), ("output", layer.outputs))
    )
    network = Network(
        name=layer.name,
        tensors=tensors,
        inputs=("input",),
        outputs=("output",),
        ops=(op,),
        trained=False,
    )
    # Of their own, so that both kinds of masks meet the same activations.
    rng = np.random.default_rng([SEED + 1, sum(map(ord, layer.name))])
    met = rng.permutation(layer.inputs) < round(layer.activation_density * layer.inputs)
    codes = rng.integers(1, code.high + 1, layer.inputs) * met
    return network, codes[None, :, None, None]

"""What a compressed network takes, layer by layer and whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from celosia.models.eie import encode, statistics
from celosia.models.formats import Codebook
from celosia.models.formats.codebook import MAX_VALUE_BITS
from celosia.models.graph import FloatConv, FloatGraph
from celosia.models.network import Network
from celosia.models.sparse import SparseLinear

FLOAT_BITS = 32
"""Bits of a weight, or a bias, of the network before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a layer, or a whole network, takes on a number of PEs.

    Attributes
    ----------
    name
        The layer, or the network.
    weights, nonzeros, density
        All weights of before, those that are not 0, and their share.
    entries, padding_share
        Stored entries, and the share of those that only carry an index further.
    busiest
        Entries of the PE that has the most; of a network the sum over layers.
    balance
        An equal share of the entries over the most of any PE: no order of work does better.
    bits
        Of entries, pointers, codebook and biases together.
    bits_per_weight
        Of entries and pointers for each nonzero.
    ratio
        Bits of the same layer in 32-bit floats, with all its weights and biases, over ``bits``.
    """

    name: str
    weights: int
    nonzeros: int
    density: float
    entries: int
    padding_share: float
    busiest: int
    balance: float
    bits: int
    bits_per_weight: float
    ratio: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What sizes are made of; those of layers add up. ``old_rows`` are those of before."""

    weights: int
    old_rows: int
    rows: int
    nonzeros: int
    entries: int
    busiest: int
    stream: int
    table: int

    def size(self, name: str, pes: int) -> Size:
        bits = self.stream + self.table + FLOAT_BITS * self.rows
        return Size(
            name=name,
            weights=self.weights,
            nonzeros=self.nonzeros,
            density=self.nonzeros / self.weights,
            entries=self.entries,
            padding_share=(self.entries - self.nonzeros) / max(self.entries, 1),
            busiest=self.busiest,
            balance=self.entries / (pes * self.busiest) if self.busiest else 1.0,
            bits=bits,
            bits_per_weight=self.stream / max(self.nonzeros, 1),
            ratio=FLOAT_BITS * (self.weights + self.old_rows) / bits,
        )


def sizes(
    network: Network,
    *,
    pes: int,
    before: FloatGraph | None = None,
    index_bits: int = 4,
    pointer_bits: int = 16,
) -> tuple[Size, ...]:
    """Return what each compressed layer of ``network`` takes on ``pes`` PEs, and in the end all.

    Biases count 32 bits, values of codebooks 16. ``before`` is the graph that was compressed, whose
    weights and biases count where PReLU's rows became two; by default the network's own count.
    """
    layers = [op for op in network.ops if isinstance(op, SparseLinear)]
    known = {op.name: op for op in before.ops if isinstance(op, FloatConv)} if before else {}
    parts = []
    for op in layers:
        part = _parts(op, pes, index_bits, pointer_bits)
        if op.name in known:
            old = known[op.name]
            part = replace(part, weights=old.weight.size, old_rows=old.bias.size)
        parts.append(part)
    found = [part.size(op.name, pes) for op, part in zip(layers, parts, strict=True)]
    return (*found, _sum(parts).size(network.name, pes))


def _parts(op: SparseLinear, pes: int, index_bits: int, pointer_bits: int) -> _Parts:
    compressed = encode(op.matrix, op.format, pes=pes, index_bits=index_bits)
    found = statistics(compressed, op.format, pointer_bits=pointer_bits)
    rows, columns = op.matrix.shape
    shared = isinstance(op.format, Codebook)
    return _Parts(
        weights=rows * columns,
        old_rows=rows,
        rows=rows,
        nonzeros=found.nonzeros,
        entries=found.entries,
        busiest=int(compressed.entries.max()),
        stream=found.entries * (op.format.bits + index_bits)
        + compressed.pointers.size * pointer_bits,
        table=MAX_VALUE_BITS << op.format.bits if shared else 0,
    )


def _sum(parts: Sequence[_Parts]) -> _Parts:
    names = [part.name for part in fields(_Parts)]
    return _Parts(**{name: sum(getattr(part, name) for part in parts) for name in names})

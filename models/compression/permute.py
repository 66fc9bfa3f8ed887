"""Rows that change places until processing elements have equal work, folded into later layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from celosia.models.network import Network, Op
from celosia.models.sparse import SparseLinear, SparseMatrix
from celosia.models.validation import reads

BLOCKS = 32
"""Into how many runs of columns a row's work is divided, so that PEs are alike in each of them."""


def balanced_order(matrix: SparseMatrix, pes: int) -> np.ndarray:
    """Return an order of the rows in which ``pes`` PEs have nearly equal work, int64 (rows,).

    Row i of the new order is row ``order[i]`` of ``matrix``, and PE k has rows k, k + pes ... . The
    rows of most weights are given out first, each to the PE with room that is then most like the
    others: with the least sum, over runs of columns, of squared weights.
    """
    rows, columns = matrix.shape
    blocks = min(BLOCKS, columns)
    where = matrix.rows * blocks + matrix.columns * blocks // columns
    work = np.bincount(where, minlength=rows * blocks).reshape(rows, blocks)
    room = np.bincount(np.arange(rows) % pes, minlength=pes)
    loads = np.zeros((pes, blocks), np.int64)
    owned: list[list[int]] = [[] for _ in range(pes)]
    for row in np.argsort(-work.sum(axis=1), kind="stable").tolist():
        # (loads + work)**2 - loads**2, but for what is the same for all PEs
        cost = loads @ work[row]
        cost[room == 0] = np.iinfo(np.int64).max
        pe = int(np.lexsort((loads.sum(axis=1), cost))[0])
        loads[pe] += work[row]
        room[pe] -= 1
        owned[pe].append(row)
    order = np.empty(rows, np.int64)
    for pe, mine in enumerate(owned):
        order[pe::pes] = mine
    return order


def permute_rows(network: Network, pes: int) -> tuple[Network, Mapping[str, np.ndarray]]:
    """Return a network of the same function whose layers are balanced over ``pes`` PEs.

    The elements of a tensor change places where a compressed layer writes it and compressed layers
    alone read it; the columns of those change places alike. Inputs and outputs of the network stay
    as they are.

    Returns
    -------
    The network, and by name of each tensor that changed its order, int64 (C,): element i is the
    element ``order[i]`` of before.
    """
    readers: dict[str, list[Op]] = {}
    for op in network.ops:
        for name in reads(op):
            readers.setdefault(name, []).append(op)
    orders: dict[str, np.ndarray] = {}
    ops: list[Op] = []
    for op in network.ops:
        if not isinstance(op, SparseLinear):
            ops.append(op)
            continue
        rows, columns = op.matrix.shape
        across = orders.get(op.input, np.arange(columns))
        down = np.arange(rows)
        later = readers.get(op.output, [])
        if op.output not in network.outputs and all(isinstance(r, SparseLinear) for r in later):
            down = orders[op.output] = balanced_order(op.matrix, pes)
        matrix = reorder(op.matrix, down, across)
        ops.append(replace(op, matrix=matrix, bias=op.bias[down]))
    return replace(network, ops=tuple(ops)), orders


def reorder(matrix: SparseMatrix, rows: np.ndarray, columns: np.ndarray) -> SparseMatrix:
    """Return the matrix of which row i and column j are ``rows[i]`` and ``columns[j]`` of it."""
    new_row, new_column = np.argsort(rows), np.argsort(columns)
    at_rows, at_columns = new_row[matrix.rows], new_column[matrix.columns]
    order = np.lexsort((at_rows, at_columns))
    counts = np.bincount(at_columns, minlength=matrix.shape[1])
    return SparseMatrix(
        shape=matrix.shape,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows=at_rows[order],
        values=matrix.values[order],
    )

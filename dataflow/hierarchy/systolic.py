"""Cycles of a systolic array without stalls: the closed forms of SCALE-Sim's three dataflows.

SCALE-Sim 3.0.0 simulates cycle by cycle what these forms say: with an operand that stays in the
array (weights or inputs), each fold loads it row by row, streams the other one through, and drains
the last column's sums. An array that loads the next fold's operand while this one streams saves the
rows of every fold but the first.
"""

from __future__ import annotations

import enum

from celosia.dataflow.hierarchy.layer import Layer


class Stationary(enum.Enum):
    """What stays in the array."""

    WEIGHT = "ws"
    OUTPUT = "os"
    INPUT = "is"


def systolic_cycles(
    layer: Layer, rows: int, columns: int, stationary: Stationary, *, preload: bool = False
) -> int:
    """Return the compute cycles of ``layer`` on an array of ``rows`` by ``columns``.

    Parameters
    ----------
    layer
        A convolution; its loops ``P Q`` are streamed, ``C R S`` summed, ``K`` spread.
    rows, columns
        The array, each 1 or more.
    stationary
        What stays in the array for a fold.
    preload
        Whether the operand of the next fold is loaded meanwhile, as SCALE-Sim's array does not.
        Outputs are not loaded.

    Raises
    ------
    ValueError
        If the array has no rows or columns.
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"an array has 1 or more rows and columns, not {rows} x {columns}")
    pixels, depth, filters = layer.p * layer.q, layer.c * layer.r * layer.s, layer.k
    if stationary is Stationary.OUTPUT:
        return -(-pixels // rows) * -(-filters // columns) * (depth + rows + columns - 2) - 1
    if stationary is Stationary.WEIGHT:
        folds, stream = -(-depth // rows) * -(-filters // columns), pixels
    else:
        folds, stream = -(-depth // rows) * -(-pixels // columns), filters
    hidden = (folds - 1) * rows if preload else 0
    return folds * (2 * rows + columns + stream - 2) - 1 - hidden

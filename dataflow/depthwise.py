"""Depthwise convolutions whose columns take windows of their own channel.

Where an array has windows (:class:`~celosia.dataflow.array_shape.Depthwise`), a column may multiply
the positions of the kernel in its lanes: those of its own channel, as the words of a plane of
activations pass by, one a cycle. Every other way to run such a convolution has one product in a
column and cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import MAX_WINDOW, Depthwise
from celosia.dataflow.lower import Lowered, Step
from celosia.models.operations import MULTIPLY


def own_windows(
    lowered: Lowered, positions: Mapping[str, np.ndarray], accelerator: Accelerator
) -> Lowered:
    """Return ``lowered`` with windows wherever ``accelerator`` has them and they serve a step.

    They do where each output channel is a sum over its own input channel alone, which lies in the
    lane of its word in which the output will lie (``positions`` says); where the kernel has 2
    columns or more and no more than the window; and where its columns are not dilated. Its rows may
    be if the step of the array then takes one of them.
    """
    depthwise = accelerator.array.depthwise
    if depthwise is None:
        return lowered
    lanes = accelerator.array.lanes
    steps = []
    for step in lowered.steps:
        read, made = (positions[name] % lanes for name in (step.input, step.output))
        if _serves(step, depthwise) and np.array_equal(read, made):
            step = _with_windows(step, depthwise)
        steps.append(step)
    return replace(lowered, steps=tuple(steps))


def _serves(step: Step, depthwise: Depthwise) -> bool:
    """Return whether windows of ``depthwise`` may be those of ``step``."""
    window = step.window
    return (
        step.operation == MULTIPLY
        and step.groups == len(step.weights)
        and step.weights.shape[1] == 1
        and 2 <= window.kernel[1] <= depthwise.columns
        and window.dilation[1] == 1
        and max(window.stride) <= MAX_WINDOW
    )


def _with_windows(step: Step, depthwise: Depthwise) -> Step:
    """Return ``step`` with windows; rows of weights 0 make its kernel a multiple of theirs."""
    rows, columns = step.window.kernel
    parts = -(-rows // (depthwise.rows if step.window.dilation[0] == 1 else 1))
    own = -(-rows // parts)
    weights = np.zeros((*step.weights.shape[:2], parts * own, columns), np.int64)
    weights[:, :, :rows] = step.weights
    window = replace(step.window, kernel=(parts * own, columns))
    return replace(step, window=window, weights=weights, own_rows=own)


def window_lanes(step: Step, depthwise: Depthwise) -> np.ndarray:
    """Return the lane of each position of the window of ``step``, shape (own_rows, columns).

    The word just read is in the last lane of the window's; a narrower or lower kernel has those
    next to it, so that no lane's position depends on the layer.
    """
    rows, columns = step.own_rows, step.window.kernel[1]
    lanes = np.arange(depthwise.positions).reshape(depthwise.rows, depthwise.columns)
    return lanes[depthwise.rows - rows :, depthwise.columns - columns :]

"""Real numbers in and out of integer networks. Imports numpy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from celosia.models.errors import CelosiaError
from celosia.models.grid import Grid
from celosia.models.network import Network


def quantise_input(network: Network, values: np.ndarray, name: str | None = None) -> np.ndarray:
    """Return the codes, int64, of real ``values`` (N, C, H, W) for the input ``name``.

    ``name`` may be left out where there is one input. Values out of range saturate.

    Raises
    ------
    CelosiaError
        If the shape is wrong, a value is no number, or the input is not known.
    """
    if name is None:
        if len(network.inputs) != 1:
            raise CelosiaError(f"name one of the network's inputs {list(network.inputs)}")
        name = network.inputs[0]
    if name not in network.inputs:
        raise CelosiaError(
            f"network {network.name!r} has no input {name!r}; give {list(network.inputs)}"
        )
    tensor = network.tensor(name)
    data = check_images(name, tensor.shape, values)
    return Grid(format=tensor.format, scale=tensor.scale, zero=tensor.zero).codes(data)


def quantise_inputs(
    network: Network, values: np.ndarray | Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the codes of all inputs by name, as :func:`celosia.models.golden.evaluate` wants.

    Raises
    ------
    CelosiaError
        As :func:`quantise_input`, or if an input is missing.
    """
    if isinstance(values, Mapping):
        missing = [name for name in network.inputs if name not in values]
        if missing:
            raise CelosiaError(f"values for the inputs {missing} are missing")
        return {name: quantise_input(network, data, name) for name, data in values.items()}
    return {network.inputs[0]: quantise_input(network, values)}


def dequantise(network: Network, name: str, codes: np.ndarray) -> np.ndarray:
    """Return the real values, float64, that ``codes`` of the tensor ``name`` stand for."""
    tensor = network.tensor(name)
    return (np.asarray(codes, dtype=np.float64) - tensor.zero) * tensor.scale


def check_images(name: str, shape: tuple[int, int, int], values: np.ndarray) -> np.ndarray:
    """Return real ``values`` (N, *shape) for the input ``name`` as float32.

    Raises :class:`CelosiaError` for another shape, or what is no finite number.
    """
    data = np.asarray(values)
    if data.ndim != 4 or data.shape[1:] != shape or len(data) == 0:
        wanted = ", ".join(map(str, shape))
        raise CelosiaError(f"data for input {name!r} must be (N, {wanted}), not {data.shape}")
    with np.errstate(over="ignore"):
        single = data.astype(np.float32) if data.dtype.kind in "fiu" else None
    wanted = f"data for input {name!r} must be finite numbers that fit a float32"
    if single is None:
        raise CelosiaError(f"{wanted}, not of the type {data.dtype}")
    if not np.isfinite(single).all():
        where = tuple(np.argwhere(~np.isfinite(single))[0].tolist())
        raise CelosiaError(f"{wanted}: the one at {where} is {data[where]}")
    return single

"""Striped memory: how an engine's addresses lie behind several ports.

Beat k of an engine with ``ports`` ports is cut into as many slices. Slice i, the lowest bits
first, lies behind port i at that port's base plus the engine's address divided by ``ports``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celosia.dataflow.accelerator import Bus


def stripe_bases(bus: Bus) -> tuple[int, ...]:
    """Return bases with which all stripes of the address space lie side by side in one memory."""
    return tuple((port << bus.address_bits) // bus.ports for port in range(bus.ports))


def split_image(image: np.ndarray, bus: Bus) -> tuple[np.ndarray, ...]:
    """Return the bytes behind each port that make up ``image``.

    Parameters
    ----------
    image : numpy.ndarray
        What lies at an address that is a multiple of a beat: uint8 (n,). Zeros fill its last beat.
    bus : Bus
        Gives the ports and the width of a beat.
    """
    beats = np.pad(np.asarray(image, np.uint8), (0, -len(image) % bus.data_bytes))
    slices = beats.reshape(-1, bus.ports, bus.port_bytes)
    return tuple(np.ascontiguousarray(slices[:, port]).ravel() for port in range(bus.ports))


def join_image(stripes: Sequence[np.ndarray], bus: Bus) -> np.ndarray:
    """Return the image of which :func:`split_image` made ``stripes``, uint8, in whole beats."""
    slices = [np.asarray(stripe, np.uint8).reshape(-1, bus.port_bytes) for stripe in stripes]
    return np.stack(slices, axis=1).ravel()

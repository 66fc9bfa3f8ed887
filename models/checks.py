"""Checks that the constructors of a network's values share."""

from __future__ import annotations

import numpy as np


def check_name(kind: str, name: str) -> None:
    """Refuse a name that is no text or empty."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"{kind} name must be a non-empty string, not {name!r}")


def integers(values: tuple[object, ...]) -> bool:
    """Return whether all ``values`` are integers, and none a truth value."""
    return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def read_only(what: str, value: np.ndarray, dimensions: int) -> np.ndarray:
    """Return a read-only int64 copy of ``value``; refuse other types and shapes.

    An array that is read-only already, and no view of another, is not copied.
    """
    if not isinstance(value, np.ndarray) or value.dtype != np.int64:
        raise TypeError(f"{what} must be an int64 array, not {getattr(value, 'dtype', value)!r}")
    if value.ndim != dimensions or value.size == 0:
        raise ValueError(
            f"{what} must have {dimensions} dimensions, none empty, not shape {value.shape}"
        )
    if value.base is None and not value.flags.writeable and value.flags.c_contiguous:
        return value
    copy = np.array(value, order="C")
    copy.setflags(write=False)
    return copy


def check_range(what: str, values: np.ndarray, low: int, high: int) -> None:
    """Refuse an entry of ``values`` outside ``low..high``."""
    wrong = (values < low) | (values > high)
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{what}[{index}] must be in {low}..{high}, not {int(values[index])}")

"""Checks that the constructors of descriptions share."""

from __future__ import annotations

_MARKS = str.maketrans("-_", "00")


def check_range(field: str, value: object, low: int, high: int) -> None:
    """Refuse a ``value`` of ``field`` that is no integer in ``low..high``."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{field} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{field} must be in {low}..{high}, not {value!r}")


def check_accelerator_name(name: object) -> None:
    """Refuse a name that is not letters, digits, ``-`` and ``_`` after a letter."""
    plain = isinstance(name, str) and name.isascii()
    if not plain or not str(name)[:1].isalpha() or not str(name).translate(_MARKS).isalnum():
        raise ValueError(
            f"name must be letters, digits, '-' and '_' and start with a letter, not {name!r}"
        )

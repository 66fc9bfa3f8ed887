"""What every number format offers."""

from __future__ import annotations

import abc
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

_DENSE = 1 << 16
"""Formats whose values lie closer together than this are encoded by a table of all integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format(abc.ABC):
    """A number format of ``bits`` bits: a finite set of integer values, each with a canonical code.

    The real number that a value stands for is the value times a scale kept elsewhere.
    Codes are unsigned integers below ``2**bits``; every code decodes, a value encodes
    to its canonical code.
    """

    bits: int

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The name that :func:`parse_format` reads back, such as ``sp2_4``."""

    @classmethod
    def from_name(cls, match: re.Match[str]) -> Format:
        """Return the format that a name stands for; its pattern's named groups are the fields.

        A class whose groups are not all integers overrides this.
        """
        return cls(**{field: int(text) for field, text in match.groupdict().items()})

    @abc.abstractmethod
    def decode_table(self) -> np.ndarray:
        """Return the int64 value of each of the ``2**bits`` codes."""

    @property
    def values(self) -> np.ndarray:
        """The distinct values, ascending, int64."""
        return _values(self)

    @property
    def low(self) -> int:
        """Smallest value."""
        return int(self.values[0])

    @property
    def high(self) -> int:
        """Largest value."""
        return int(self.values[-1])

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the int64 values of ``codes`` (any integer array, entries below ``2**bits``)."""
        return np.asarray(_table(self)[codes], dtype=np.int64)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return the canonical int64 codes of ``values``.

        Raises ``ValueError`` naming the first value that is not in the format.
        """
        values = np.asarray(values, dtype=np.int64)
        # What is no value meets the code of one that it does not equal.
        if self.high - self.low < _DENSE:
            codes = _dense_codes(self).take(values - self.low, mode="clip")
        else:
            index = np.searchsorted(self.values, values)
            codes = _codes(self).take(index, mode="clip")
        wrong = _table(self)[codes] != values
        if wrong.any():
            raise ValueError(f"{int(values[wrong].flat[0])} is not a value of {self.name}")
        return codes

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Return whether each of ``values`` (int64) is in the format: bool, of their shape."""
        inside = np.asarray((values >= self.low) & (values <= self.high))
        if len(self.values) == self.high - self.low + 1:
            return inside
        return np.asarray(inside & np.isin(values, self.values))

    def covers(self, other: Format) -> bool:
        """Whether every value of ``other`` is a value of this format."""
        return bool(np.isin(other.values, self.values).all())


def rows_of(
    formats: Sequence[Format], rows: np.ndarray
) -> Iterator[tuple[Format, np.ndarray, np.ndarray]]:
    """Yield each format, the numbers of the ``rows`` that are of it, and those rows themselves."""
    kinds = dict.fromkeys(formats)
    for fmt in kinds:
        if len(kinds) == 1:
            yield fmt, np.arange(len(rows)), rows
        else:
            numbers = np.flatnonzero([mine == fmt for mine in formats])
            yield fmt, numbers, rows[numbers]


def encode_rows(formats: Sequence[Format], values: np.ndarray) -> np.ndarray:
    """Return the codes of ``values`` (int64), each row in its format; int64, of their shape."""
    return _by_rows(formats, values, lambda fmt, rows: fmt.encode(rows))


def decode_rows(formats: Sequence[Format], codes: np.ndarray) -> np.ndarray:
    """Return the values of ``codes`` (integers), each row in its format; int64, of their shape."""
    return _by_rows(formats, codes, lambda fmt, rows: fmt.decode(rows))


def _by_rows(
    formats: Sequence[Format],
    rows: np.ndarray,
    convert: Callable[[Format, np.ndarray], np.ndarray],
) -> np.ndarray:
    if len(formats) != len(rows):
        raise ValueError(f"{len(rows)} rows must have as many formats, not {len(formats)}")
    if len(set(formats)) == 1:
        return convert(formats[0], rows)
    converted = np.empty(rows.shape, np.int64)
    for fmt, numbers, mine in rows_of(formats, rows):
        converted[numbers] = convert(fmt, mine)
    return converted


@functools.cache
def _table(fmt: Format) -> np.ndarray:
    table = np.asarray(fmt.decode_table(), dtype=np.int64)
    table.setflags(write=False)
    return table


@functools.cache
def _values(fmt: Format) -> np.ndarray:
    values = np.unique(_table(fmt))
    values.setflags(write=False)
    return values


@functools.cache
def _codes(fmt: Format) -> np.ndarray:
    """Return the canonical code of each value: the smallest code that decodes to it."""
    _, first = np.unique(_table(fmt), return_index=True)
    return first.astype(np.int64)


@functools.cache
def _dense_codes(fmt: Format) -> np.ndarray:
    """Return the code of every integer from smallest to largest value, or another."""
    every = np.searchsorted(fmt.values, np.arange(fmt.low, fmt.high + 1))
    return _codes(fmt)[every]


Kind = TypeVar("Kind", bound=type[Format])


class Registry:
    """The classes of one family of formats, found by the names of their members.

    ``family`` is what errors call a member, such as ``format``.
    """

    def __init__(self, family: str) -> None:
        self._family = family
        self._known: dict[str, tuple[re.Pattern[str], type[Format]]] = {}

    def register(self, form: str, pattern: str) -> Callable[[Kind], Kind]:
        """Make :meth:`parse` know the class that is decorated; see :func:`register_format`."""

        def register(kind: Kind) -> Kind:
            self._known[form] = re.compile(pattern), kind
            return kind

        return register

    def parse(self, name: str) -> Format:
        """Return the member called ``name``.

        Raises ``ValueError`` listing the known names, or as the member's constructor does.
        """
        for pattern, kind in self._known.values():
            match = pattern.fullmatch(name)
            if match is not None:
                return kind.from_name(match)
        raise ValueError(f"unknown {self._family} {name!r}: known are {', '.join(self._known)}")


_FORMATS = Registry("format")


def register_format(form: str, pattern: str) -> Callable[[Kind], Kind]:
    """Make :func:`parse_format` know a format class.

    Parameters
    ----------
    form
        How names look and what is allowed, such as ``sp2_N (N = 3..8)``: shown in errors.
    pattern
        Regular expression that a whole name matches, for :meth:`Format.from_name`.
    """
    return _FORMATS.register(form, pattern)


def parse_format(name: str) -> Format:
    """Return the format called ``name``, such as ``fixed4``, ``ufixed8``, ``sp2_4``.

    Raises ``ValueError`` listing the known names, or as the format's constructor does.
    """
    return _FORMATS.parse(name)

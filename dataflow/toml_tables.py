"""Checks of what a TOML file holds, with errors that name the file and the key."""

from __future__ import annotations

import enum
import tomllib
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from celosia.models.errors import CelosiaError

Value = TypeVar("Value")
Choice = TypeVar("Choice", bound=enum.Enum)


def read_text(path: str | Path, what: str) -> str:
    """Return the text of a file; ``what`` says in errors what kind of file it is."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CelosiaError(f"cannot read {what} {path}: {error}") from error


def parse_toml(text: str, where: str, number: Callable[[str], float | Decimal] = float) -> Any:
    """Return the table that ``text`` holds; ``number`` makes what stands for a fraction."""
    try:
        return tomllib.loads(text, parse_float=number)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise CelosiaError(f"{where}: not a TOML file: {error}") from error


def build(where: str, key: str, make: Callable[[], Value]) -> Value:
    """Return what ``make`` makes; what it refuses is said of ``key``."""
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise CelosiaError(f"{where}: {key}: {error}") from error


def as_table(where: str, key: str, value: object) -> dict[str, Any]:
    """Return ``value``, a table."""
    if not isinstance(value, dict):
        raise CelosiaError(f"{where}: {key} must be a table, not {value!r}")
    return value


def as_choice(where: str, key: str, value: object, kind: type[Choice]) -> Choice:
    """Return the member of ``kind`` of which ``value`` is the value."""
    for member in kind:
        if member.value == value:
            return member
    known = ", ".join(str(member.value) for member in kind)
    raise CelosiaError(f"{where}: {key} must be one of {known}, not {value!r}")


def as_tables(where: str, key: str, value: object) -> list[tuple[str, dict[str, Any]]]:
    """Return the tables of a list, each with its key."""
    if not isinstance(value, list):
        raise CelosiaError(f"{where}: {key} must be a list of tables, not {value!r}")
    keys = [f"{key}[{index}]" for index in range(len(value))]
    return [(name, as_table(where, name, entry)) for name, entry in zip(keys, value, strict=True)]


def check_keys(
    where: str,
    prefix: str,
    table: dict[str, Any],
    known: Sequence[str],
    optional: Sequence[str],
) -> None:
    """Refuse keys that are not ``known``, and the lack of one that is not ``optional``."""
    for key in table:
        if key not in known:
            allowed = ", ".join(known)
            raise CelosiaError(f"{where}: unknown key {prefix}{key}: allowed are {allowed}")
    needed = [key for key in known if key not in optional]
    for key in needed:
        if key not in table:
            raise CelosiaError(
                f"{where}: key {prefix}{key} is missing: needed are {', '.join(needed)}"
            )

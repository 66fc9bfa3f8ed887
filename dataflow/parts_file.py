"""The file form of engines that are a name and parts: a TOML table for each part."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.toml_tables import as_choice, as_table, build, check_keys
from celosia.models.errors import CelosiaError

Engine = TypeVar("Engine")


def dump_parts(engine: str, accelerator: Any, parts: Mapping[str, type]) -> str:
    """Return the TOML text of ``accelerator``: every field, always in the same order.

    Parameters
    ----------
    engine
        The kind of engine, as the file names it.
    accelerator
        A dataclass with ``name`` and the ``parts``; one that is None is left out.
    parts
        The dataclass of each part, by name.
    """
    lines = [f'engine = "{engine}"', f'name = "{accelerator.name}"']
    for part, kind in parts.items():
        value = getattr(accelerator, part)
        if value is not None:
            lines += ["", f"[{part}]"]
            if isinstance(value, Bus):
                settings = dict[str, Any](value.settings)
            else:
                settings = {each.name: getattr(value, each.name) for each in fields(kind)}
            lines += [f"{key} = {_text(setting)}" for key, setting in settings.items()]
    return "\n".join([*lines, ""])


def parse_parts(
    table: dict[str, Any],
    where: str,
    parts: Mapping[str, type],
    make: Callable[..., Engine],
    *,
    defaults: Collection[str],
    absent: Collection[str] = (),
) -> Engine:
    """Return the engine that a file's ``table`` describes.

    Parameters
    ----------
    table, where
        What the file holds, and its name in errors.
    parts
        The dataclass of each part, by name.
    make
        Takes ``name`` and the parts.
    defaults
        Parts of which every field has a default: the file may lack them.
    absent
        Parts without which an engine may be: the file may lack them, then ``make`` is given none.

    Raises
    ------
    CelosiaError
        Names the key that is unknown, missing or out of range.
    """
    check_keys(where, "", table, ("engine", "name", *parts), (*defaults, *absent))
    name = table["name"]
    if not isinstance(name, str):
        raise CelosiaError(f"{where}: name must be a string, not {name!r}")
    made = {
        part: _part(where, part, table.get(part, {}), kind)
        for part, kind in parts.items()
        if part not in absent or part in table
    }
    return build(where, "the engine", lambda: make(name=name, **made))


def _text(value: int | bool | enum.Enum) -> str:
    return f'"{value.value}"' if isinstance(value, enum.Enum) else str(value).lower()


def _part(where: str, part: str, value: object, kind: type) -> Any:
    table = as_table(where, part, value)
    known = [each.name for each in fields(kind)]
    optional = [each.name for each in fields(kind) if each.default is not MISSING]
    check_keys(where, f"{part}.", table, known, optional)
    types = get_type_hints(kind)
    choices = {
        key: as_choice(where, f"{part}.{key}", table[key], types[key])
        for key in table
        if isinstance(types[key], type) and issubclass(types[key], enum.Enum)
    }
    return build(where, part, lambda: kind(**{**table, **choices}))

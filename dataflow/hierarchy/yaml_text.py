"""YAML as the files of other tools want it: tables, lists, plain words, and their type tags."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tagged:
    """A table with a type tag: ``!Memory``."""

    tag: str
    table: dict[str, Any]


def to_yaml(value: Any) -> str:
    """Return the YAML text of tables and lists of numbers, truth values and strings."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        lines = []
        for key, entry in value.items():
            lines += _entry(f"{key}:", entry)
        return lines
    lines = []
    for entry in value:
        if isinstance(entry, Tagged):
            lines += [f"- !{entry.tag}", *(f"  {line}" for line in _lines(entry.table))]
        elif _is_flat(entry):
            lines.append(f"- {_flat(entry)}")
        else:
            first, *rest = _lines(entry)
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


def _entry(head: str, value: Any) -> list[str]:
    if _is_flat(value):
        return [f"{head} {_flat(value)}"]
    return [head, *(f"  {line}" for line in _lines(value))]


def _is_flat(value: Any) -> bool:
    if isinstance(value, dict | list):
        members = list(value.values()) if isinstance(value, dict) else value
        return not any(isinstance(entry, dict | list | Tagged) for entry in members)
    return not isinstance(value, Tagged)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flat(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    return json.dumps(value)

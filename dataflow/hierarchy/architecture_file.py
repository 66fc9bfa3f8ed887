"""The file form of architectures: TOML.

.. code-block:: toml

    name = "a"
    comparison_only = true  # left out: false
    factors = "perfect"     # or "imperfect"; left out: imperfect

    [mac]
    energy = 0.25           # pJ

    [[level]]               # the outermost first
    name = "dram"
    holds = ["I", "W", "O"]
    energy = 100.0          # pJ a word; or read_energy and write_energy
    bandwidth = 16          # words a cycle, shared; or read_bandwidth, write_bandwidth; or none

    [[level]]
    name = "acc"
    holds = ["O"]
    words = 512             # of each instance
    energy = 1.0

    [[axis]]                # the outermost first
    name = "columns"
    size = 16
    spreads = ["K"]
    above = "acc"           # what is copied; left out: the multipliers alone

    [accounting]            # each may be left out
    drain_reads = true
    first_reads = false
    slides = true
    input_tile = "box"      # "rows", "touched"
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from celosia.dataflow.hierarchy.architecture import (
    Accounting,
    Architecture,
    Axis,
    Factors,
    InputTile,
    Level,
)
from celosia.dataflow.hierarchy.layer import Dim, Tensor
from celosia.dataflow.toml_tables import (
    Choice,
    as_choice,
    as_table,
    as_tables,
    build,
    check_keys,
    parse_toml,
    read_text,
)
from celosia.models.errors import CelosiaError

_FOLDER = Path(__file__).parent / "architectures"
SHIPPED = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
"""The architectures that come with the package, by name."""

_KEYS = ("name", "comparison_only", "factors", "mac", "level", "axis", "accounting")
_RATES = ("read_bandwidth", "write_bandwidth", "bandwidth")
_ENERGIES = ("energy", "read_energy", "write_energy")
_SWITCHES = ("drain_reads", "first_reads", "slides")


def read_architecture(name: str | Path) -> Architecture:
    """Return the architecture of a TOML file, or a shipped one by its name.

    Raises
    ------
    CelosiaError
        If there is no such file, or what it holds is wrong; it names the file and the key.
    """
    path = Path(name)
    if str(name) in SHIPPED and not path.exists():
        path = _FOLDER / f"{name}.toml"
    elif not path.exists():
        raise CelosiaError(
            f"there is no architecture file {name}, and none of that name is shipped: shipped "
            f"are {', '.join(SHIPPED)}"
        )
    return parse_architecture(read_text(path, "architecture file"), str(path))


def parse_architecture(text: str, where: str) -> Architecture:
    """Return the architecture that the TOML ``text`` describes; ``where`` names it in errors.

    Raises :class:`CelosiaError` as :func:`read_architecture` does.
    """
    root = as_table(where, "the file", parse_toml(text, where, Decimal))
    check_keys(where, "", root, _KEYS, ("comparison_only", "factors", "axis", "accounting"))
    mac = as_table(where, "mac", root["mac"])
    check_keys(where, "mac.", mac, ("energy",), ())
    levels = tuple(_level(where, *entry) for entry in as_tables(where, "level", root["level"]))
    axes = tuple(_axis(where, *entry) for entry in as_tables(where, "axis", root.get("axis", [])))
    accounting = _accounting(where, as_table(where, "accounting", root.get("accounting", {})))
    factors = as_choice(where, "factors", root.get("factors", Factors.IMPERFECT.value), Factors)
    comparison_only = _flag(where, "comparison_only", root.get("comparison_only", False))
    energy = _energy(where, "mac.energy", mac["energy"])
    return build(
        where,
        "the architecture",
        lambda: Architecture(
            name=root["name"],
            levels=levels,
            axes=axes,
            mac_energy=energy,
            accounting=accounting,
            factors=factors,
            comparison_only=comparison_only,
        ),
    )


def dump_architecture(architecture: Architecture) -> str:
    """Return the TOML text of ``architecture``: every field, always in the same order."""
    switches = architecture.accounting
    lines = [
        f'name = "{architecture.name}"',
        f"comparison_only = {_text(architecture.comparison_only)}",
        f'factors = "{architecture.factors.value}"',
        "",
        "[mac]",
        f"energy = {_text(architecture.mac_energy)}",
    ]
    for level in architecture.levels:
        lines += ["", "[[level]]", f'name = "{level.name}"', f"holds = {_text(level.holds)}"]
        keys = ("words", *_ENERGIES[1:], *_RATES)
        values = {key: getattr(level, key) for key in keys}
        lines += [f"{key} = {_text(value)}" for key, value in values.items() if value is not None]
    for axis in architecture.axes:
        lines += ["", "[[axis]]", f'name = "{axis.name}"', f"size = {axis.size}"]
        lines += [f"spreads = {_text(axis.spreads)}"]
        lines += [] if axis.above is None else [f'above = "{axis.above}"']
    lines += ["", "[accounting]", *(f"{k} = {_text(getattr(switches, k))}" for k in _SWITCHES)]
    return "\n".join([*lines, f'input_tile = "{switches.input_tile.value}"', ""])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{member.value}"' for member in value) + "]"
    return str(value)


def _level(where: str, key: str, table: dict[str, Any]) -> Level:
    known = ("name", "holds", "words", *_ENERGIES, *_RATES)
    check_keys(where, f"{key}.", table, known, ("words", *_ENERGIES, *_RATES))
    holds = _choices(where, f"{key}.holds", table["holds"], Tensor)
    both = table.get("energy")
    if any((both is None) == (name not in table) for name in _ENERGIES[1:]):
        raise CelosiaError(
            f"{where}: {key} needs either energy or both read_energy and write_energy"
        )
    reads, writes = (
        _energy(where, f"{key}.{name}", table.get(name, both)) for name in _ENERGIES[1:]
    )
    return build(
        where,
        key,
        lambda: Level(
            name=table["name"],
            holds=holds,
            words=table.get("words"),
            read_energy=reads,
            write_energy=writes,
            read_bandwidth=table.get("read_bandwidth"),
            write_bandwidth=table.get("write_bandwidth"),
            bandwidth=table.get("bandwidth"),
        ),
    )


def _axis(where: str, key: str, table: dict[str, Any]) -> Axis:
    check_keys(where, f"{key}.", table, ("name", "size", "spreads", "above"), ("above",))
    spreads = _choices(where, f"{key}.spreads", table["spreads"], Dim)
    above = table.get("above")
    return build(
        where,
        key,
        lambda: Axis(name=table["name"], size=table["size"], above=above, spreads=spreads),
    )


def _accounting(where: str, table: dict[str, Any]) -> Accounting:
    known = (*_SWITCHES, "input_tile")
    check_keys(where, "accounting.", table, known, known)
    flags = {
        key: _flag(where, f"accounting.{key}", table[key]) for key in _SWITCHES if key in table
    }
    kind = table.get("input_tile", InputTile.BOX.value)
    tile = as_choice(where, "accounting.input_tile", kind, InputTile)
    return Accounting(input_tile=tile, **flags)


def _energy(where: str, key: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise CelosiaError(f"{where}: {key} must be a number of pJ, not {value!r}")
    return Decimal(value)


def _flag(where: str, key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise CelosiaError(f"{where}: {key} must be true or false, not {value!r}")
    return value


def _choices(where: str, key: str, value: object, kind: type[Choice]) -> tuple[Choice, ...]:
    if not isinstance(value, list):
        raise CelosiaError(f"{where}: {key} must be a list, not {value!r}")
    return tuple(as_choice(where, key, member, kind) for member in value)

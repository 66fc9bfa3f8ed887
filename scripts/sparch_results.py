"""Rows of ``celosia bench sparch``, and a file that keeps them, so that none is lost."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from celosia.models.errors import CelosiaError

JSON_FIELDS = (
    "matrix", "mode", "cycles_measured", "cycles_predicted", "dram_bytes_measured",
    "dram_bytes_predicted", "dram_bytes_outerspace", "gflops_at_1ghz", "bandwidth_utilisation",
    "exact", "sim_seconds",
)  # fmt: skip
"""What ``--json`` gives of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparchRow:
    """One matrix times itself in one mode.

    Bytes are those of the product's own streams, program and stamps left out.
    ``bandwidth_utilisation`` is the share of what the memory could have moved, both ways, in the
    cycles; ``multiplier_utilisation`` that of products. ``exact`` says whether every bit, cycle
    and counter was as expected. What was not run is None, and so is, with ``cycles_predicted``,
    what hangs on cycles. ``share`` says what part of the matrix it is, ``streams`` the predicted
    bytes of each stream.
    """

    matrix: str
    mode: str
    share: float
    rows: int
    nonzeros: int
    longest: int
    products: int
    size: int
    rounds: int
    cycles_measured: int | None
    cycles_predicted: int | None
    dram_bytes_measured: int | None
    dram_bytes_predicted: int
    dram_bytes_outerspace: int
    dram_bytes_gustavson: int
    streams: dict[str, int]
    gflops_at_1ghz: float | None
    multiplier_utilisation: float | None
    bandwidth_utilisation: float | None
    exact: bool | None
    sim_seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the row as the JSON values of :data:`JSON_FIELDS`."""
        return {name: getattr(self, name) for name in JSON_FIELDS}

    @property
    def holds(self) -> bool:
        """Whether all that was measured is as predicted."""
        if self.exact is None:
            return True
        return self.exact and self.dram_bytes_measured == self.dram_bytes_predicted

    @property
    def saved(self) -> float:
        """OuterSPACE's bytes over these."""
        return self.dram_bytes_outerspace / self.dram_bytes_predicted


class Kept:
    """What a file has of rows that were measured in the same way; of none without a file.

    Each line is a JSON object: a row, and a hash of ``setting``, that is of all that it hangs on. A
    last line that was cut off when a run ended is dropped.

    Raises :class:`CelosiaError` where the file cannot be read or holds something else.
    """

    def __init__(self, path: Path | None, setting: str) -> None:
        self._path = path
        self._setting = hashlib.sha256(setting.encode()).hexdigest()[:16]
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        if path is not None:
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            content = path.read_bytes() if path.exists() else b""
            if content and not content.endswith(b"\n"):
                content = content[: content.rfind(b"\n") + 1]
                path.write_bytes(content)
        except OSError as error:
            raise CelosiaError(f"cannot read {path}: {error.strerror or error}") from error
        for number, line in enumerate(content.splitlines(), 1):
            try:
                row = json.loads(line)
                setting, key = row.pop("setting"), (row["matrix"], row["mode"])
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise CelosiaError(
                    f"{path}, line {number}: no row of this bench: name another file for results"
                ) from error
            if setting == self._setting:
                self._rows[key] = row

    def row(self, matrix: str, mode: str) -> SparchRow | None:
        """Return the row of ``matrix`` in ``mode``, None if there is none."""
        found = self._rows.get((matrix, mode))
        try:
            return None if found is None else SparchRow(**found)
        except TypeError:  # of another version: other fields
            return None

    def add(self, row: SparchRow) -> None:
        """Keep ``row``."""
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"setting": self._setting, **asdict(row)}) + "\n")
        except OSError as error:
            raise CelosiaError(f"cannot write {self._path}: {error.strerror or error}") from error

"""A table of outcomes in any database that SQLAlchemy reaches, SQLite by default.

One row for each accelerator that was evaluated for a network, by a key that stands for all that
the outcome depends on. A row is written as soon as the outcome is there, in a transaction of
its own: whatever ends the process, what was evaluated stays.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import sqlalchemy as sql
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from celosia.dataflow.explore.outcome import Outcome
from celosia.models.errors import CelosiaError

_AT_A_TIME = 500
"""Keys in one question: databases limit how many parameters it has."""

_WAIT = 60
"""Seconds that a process waits for another one that writes to the same SQLite file."""

_METADATA = sql.MetaData()
_OUTCOMES = sql.Table(
    "celosia_outcomes",
    _METADATA,
    sql.Column("key", sql.String(64), primary_key=True),
    sql.Column("outcome", sql.Text, nullable=False),
    sql.Column("made", sql.String(32), nullable=False),
)


def sqlite_url(path: str | Path) -> str:
    """Return the URL of an SQLite file."""
    return f"sqlite:///{Path(path).absolute()}"


class SqlStore:
    """Outcomes by key in the database at ``url``.

    Raises
    ------
    CelosiaError
        When the URL is not understood, its driver is not installed, the database cannot be
        reached or written, or what it holds is not of this program; methods too.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            place = sql.make_url(url)
            waiting = {"timeout": _WAIT} if place.get_backend_name() == "sqlite" else {}
            self._engine = sql.create_engine(place, connect_args=waiting, pool_pre_ping=True)
        except (SQLAlchemyError, ImportError) as error:
            raise CelosiaError(
                f"store {_shown(url)} is not understood ({_first_line(error)}): write a URL of "
                "SQLAlchemy, such as sqlite:///explore.sqlite or "
                "postgresql+psycopg://user@host/database, and install that database's driver"
            ) from error
        with self._asking():
            self._create()

    def _create(self) -> None:
        try:
            _METADATA.create_all(self._engine)
        except DBAPIError:
            # Another process may have made the table since this one looked for it.
            if not sql.inspect(self._engine).has_table(_OUTCOMES.name):
                raise

    def __enter__(self) -> SqlStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.dispose()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise CelosiaError(f"store {_shown(self._url)}: {_first_line(error)}") from error

    def known(self, keys: Sequence[str]) -> dict[str, Outcome]:
        found: dict[str, Outcome] = {}
        with self._asking(), self._engine.connect() as connection:
            for begin in range(0, len(keys), _AT_A_TIME):
                some = keys[begin : begin + _AT_A_TIME]
                asked = sql.select(_OUTCOMES.c.key, _OUTCOMES.c.outcome)
                rows = connection.execute(asked.where(_OUTCOMES.c.key.in_(some)))
                found |= {row.key: self._outcome(row.key, row.outcome) for row in rows}
        return found

    def _outcome(self, key: str, text: str) -> Outcome:
        try:
            return Outcome.from_dict(json.loads(text))
        except (TypeError, ValueError) as error:
            raise CelosiaError(
                f"store {_shown(self._url)}: the outcome with key {key} is damaged ({error}): "
                "delete that row, or name another store"
            ) from error

    def add(self, key: str, outcome: Outcome) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        row = {"key": key, "outcome": json.dumps(outcome.as_dict()), "made": now}
        with self._asking():
            try:
                with self._engine.begin() as connection:
                    connection.execute(sql.insert(_OUTCOMES), [row])
            except IntegrityError:
                # Another search with the same store was quicker; outcomes of a key are equal.
                return

    def __len__(self) -> int:
        """Return how many outcomes there are."""
        with self._asking(), self._engine.connect() as connection:
            count = connection.execute(sql.select(sql.func.count()).select_from(_OUTCOMES))
            return int(count.scalar_one())


def _shown(url: str) -> str:
    """Return ``url`` without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

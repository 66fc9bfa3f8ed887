"""What commands say: results on stdout, all else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

errors = Console(stderr=True, highlight=False)
"""Messages and progress."""


def emit(value: Any, *, as_json: bool, show: Callable[[Console], None]) -> None:
    """Write a command's result to stdout: ``value`` as JSON, or what ``show`` prints for people."""
    if as_json:
        json.dump(value, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        # Made here: tests and pipes replace stdout.
        show(Console(highlight=False))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """Return a table; columns after the first are aligned right."""
    made = Table(title=title or None, title_justify="left")
    for index, header in enumerate(headers):
        made.add_column(header, justify="right" if index else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_text(cell) for cell in row))
    return made


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table as Markdown, ending in a line break; as :func:`table` aligns it."""
    lines = (headers, ("---", *["---:"] * (len(headers) - 1)), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(cell: object) -> str:
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return str(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.4g}"


Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


EVERY: Final = 10.0
"""Seconds between two lines on work that goes on, where stderr is no terminal."""


class NowAndThen:
    """Says how work stands, a line at a time: for logs, where nothing can be drawn over."""

    def __init__(self) -> None:
        self._next = time.monotonic() + EVERY

    def tell(self, text: str) -> None:
        """Write ``text`` to stderr, unless it is less than :data:`EVERY` since the last."""
        if time.monotonic() >= self._next:
            errors.print(text, markup=False, soft_wrap=True)
            self._next = time.monotonic() + EVERY


@contextmanager
def live(title: str) -> Iterator[Callable[[str], None]]:
    """Show one line on stderr; yield what changes it. Where it is no terminal, now and then."""
    if not errors.is_terminal:
        yield NowAndThen().tell
        return
    with errors.status(title) as status:
        yield lambda text: status.update(escape(text))


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show a bar on stderr, or a line now and then; yield what to report progress to."""
    if not errors.is_terminal:
        line = NowAndThen()
        yield lambda what, done, total: line.tell(f"{title}: {what}, {done} of {total}")
        return
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"{title}: {what}", completed=done, total=total)

        yield report

"""What commands say: results on stdout, all else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
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


def _text(cell: object) -> str:
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return str(cell)
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.4g}"


Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show a bar on stderr; yield what to report progress to."""
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

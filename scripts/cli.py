"""The ``celosia`` command: a thin layer over the Python API.

Results go to stdout, as JSON alone with ``--json``; progress and messages to stderr. The exit
status is 0 only when the thing asked for holds.
"""

from __future__ import annotations

import _thread
import sys
import threading
import warnings
from contextlib import suppress

import typer

from celosia.models.errors import CelosiaError
from celosia.scripts import (
    commands_bench,
    commands_board,
    commands_compress,
    commands_explore,
    commands_hardware,
    commands_mapping,
    commands_network,
    commands_runs,
    commands_sparse,
)
from celosia.scripts.console import errors
from celosia.scripts.options import BROKEN
from celosia.scripts.signals import Stop

app = typer.Typer(
    help="From a trained PyTorch network to verified hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut names of options short
)
for commands in (
    commands_runs,
    commands_network,
    commands_compress,
    commands_explore,
    commands_hardware,
    commands_board,
    commands_mapping,
    commands_sparse,
):
    app.add_typer(commands.app)
app.add_typer(commands_bench.app, name="bench")

INTERRUPTED = 130
"""Exit status after Ctrl-C; 143 after SIGTERM, 129 after SIGHUP."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit; errors that a user can mend end in one message."""
    sys.unraisablehook = _pass_on
    stop = Stop()
    stop.install()
    status = run_command(arguments, stop)
    if status:
        # Amaranth complains of every component of a design that was begun and not finished.
        warnings.simplefilter("ignore")
    sys.exit(status)


def _pass_on(unraisable: sys.UnraisableHookArgs) -> None:
    """Interrupt again when a Ctrl-C fell into a ``__del__``, from where nothing is raised."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    # Later and from elsewhere: an interrupt in here would be lost as well.
    again = threading.Timer(0.02, _thread.interrupt_main)
    again.daemon = True
    again.start()


def run_command(arguments: list[str] | None = None, stop: Stop | None = None) -> int:
    """Run the command; return the exit status. ``stop`` knows of signals that end it."""
    stop = stop or Stop()
    try:
        status, message = _outcome(arguments)
    except KeyboardInterrupt:
        status, message = INTERRUPTED, ""
    except Exception:
        # Compiled code that calls back loses an interrupt, and fails of what it left undone.
        if not stop.stopped:
            raise
        status, message = INTERRUPTED, ""
    if stop.stopped or status == INTERRUPTED:
        # Whatever else was said: a terminal that hangs up fails what writes to it, for one.
        status, message = stop.status, f"{stop.reason}: what was half written is removed"
    if message:
        with suppress(OSError):
            errors.print(message, markup=False, soft_wrap=True)
    return status


def _outcome(arguments: list[str] | None) -> tuple[int, str]:
    """Run the command; return the exit status and the error that remains to be said, if any."""
    try:
        app(args=arguments, prog_name="celosia")
    except SystemExit as leaving:
        # Of typer: it has said what is wrong with arguments, but nothing about Ctrl-C.
        return (leaving.code if isinstance(leaving.code, int) else BROKEN), ""
    except CelosiaError as error:
        message = str(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
    except MemoryError:
        message = "this machine has too little memory for that"
    else:
        return 0, ""
    return BROKEN, f"error: {message}"

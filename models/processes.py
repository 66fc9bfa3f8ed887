"""Child processes: programs that a command runs, and that never outlive it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Final

from celosia.models.errors import CelosiaError

_OUTPUT_LINES: Final = 15

Finished = subprocess.CompletedProcess[str]
"""A command that has ended: its exit status, and what it wrote to both its outputs."""


class StoppedError(Exception):
    """A command was stopped, or not begun, because of :meth:`Processes.stop`."""


class Processes:
    """Runs commands, several at a time; none outlives an error, Ctrl-C or :meth:`stop`.

    Commands keep temporary files in the folder that they run in, so that those of a command
    that was stopped go with the folder.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def complete(
        self, command: Sequence[str], cwd: Path, env: dict[str, str] | None = None
    ) -> Finished:
        """Run ``command`` in folder ``cwd``; return how it ended, whatever its status.

        ``env`` is the environment, by default this process's own.

        Raises
        ------
        OSError
            When it cannot be run.
        StoppedError
            When :meth:`stop` was called.
        """
        (finished,) = self._all([lambda: self._one(command, cwd, env)], lambda _done: None)
        return finished

    def run(self, command: Sequence[str], cwd: Path, env: dict[str, str] | None = None) -> None:
        """Run ``command`` as :meth:`complete`.

        Raises :class:`CelosiaError` with the end of its output when it fails.
        """
        _checked(lambda: self.complete(command, cwd, env))

    def run_all(
        self, commands: Sequence[Sequence[str]], cwd: Path, done: Callable[[int], None]
    ) -> None:
        """Run ``commands``, one on each core; ``done`` is told how many have ended.

        Raises as :meth:`run` as soon as one fails; the others are stopped then.
        """
        done(0)
        calls = [functools.partial(self._one, command, cwd, None) for command in commands]
        self._all([functools.partial(_checked, call) for call in calls], done)

    def stop(self) -> None:
        """End everything that runs, with its children, and begin nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _all(
        self, calls: Sequence[Callable[[], Finished]], done: Callable[[int], None]
    ) -> list[Finished]:
        # Always in threads: Ctrl-C comes to the main one, never between the birth of a process
        # and the note of it.
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            try:
                futures: list[Future[Finished]] = [pool.submit(call) for call in calls]
                for count, future in enumerate(as_completed(futures), 1):
                    future.result()
                    done(count)
            except BaseException:
                self.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return [future.result() for future in futures]

    def _one(self, command: Sequence[str], cwd: Path, env: dict[str, str] | None) -> Finished:
        with self._lock:
            if self._stopped:
                raise StoppedError
            # A group of its own: the compiler's children end with it, and Ctrl-C reaches us.
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**(os.environ if env is None else env), "TMPDIR": str(cwd)},
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running.add(process)
        with process:
            output, _ = process.communicate()
        with self._lock:
            self._running.discard(process)
            if self._stopped:
                raise StoppedError
        return Finished(command, process.returncode, output)


def _checked(call: Callable[[], Finished]) -> Finished:
    finished = call()
    if finished.returncode:
        tail = "\n".join(finished.stdout.strip().splitlines()[-_OUTPUT_LINES:])
        tool = Path(finished.args[0]).name
        raise CelosiaError(
            f"{tool} failed with status {finished.returncode}; the end of its output is:\n{tail}"
        )
    return finished

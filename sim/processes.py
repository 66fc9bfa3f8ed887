"""Child processes of a build."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from celosia.models.errors import CelosiaError

_OUTPUT_LINES: Final = 15


class Processes:
    """Runs commands, several at a time; none outlives an error or Ctrl-C."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, command: list[str], cwd: Path, env: dict[str, str] | None = None) -> None:
        """Run ``command`` in folder ``cwd``.

        Raises :class:`CelosiaError` with the end of its output when it fails.
        """
        try:
            self._one(command, cwd, env)
        except BaseException:
            self._stop()
            raise

    def run_all(self, commands: list[list[str]], cwd: Path, done: Callable[[int], None]) -> None:
        """Run ``commands``, one on each core; ``done`` is told how many have ended.

        Raises as :meth:`run`; the others are stopped then.
        """
        finished = 0
        done(0)
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            try:
                futures = [pool.submit(self._one, command, cwd, None) for command in commands]
                for future in futures:
                    future.result()
                    finished += 1
                    done(finished)
            except BaseException:
                self._stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, command: list[str], cwd: Path, env: dict[str, str] | None) -> None:
        with self._lock:
            if self._stopped:
                return
            # A group of its own: the compiler's children end with it, and Ctrl-C reaches us.
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                text=True,
                errors="replace",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running.add(process)
        with process:  # closes the pipe, on Ctrl-C too
            output, _ = process.communicate()
        with self._lock:
            self._running.discard(process)
        if process.returncode and not self._stopped:
            tail = "\n".join(output.strip().splitlines()[-_OUTPUT_LINES:])
            tool = Path(command[0]).name
            raise CelosiaError(
                f"{tool} failed with status {process.returncode}; the end of its output is:\n{tail}"
            )

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        for process in list(self._running):
            process.wait()

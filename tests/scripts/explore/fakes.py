"""An evaluation that takes no time and leaves a trace; workers import it by this module's name."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from celosia.dataflow.explore.outcome import Outcome
from celosia.models.errors import CelosiaError


@dataclass(frozen=True)
class Traced:
    """Writes ``key`` to ``trace`` once it has evaluated a job, after ``seconds`` but for ``quick``.

    A worker that gets the job ``fatal`` dies, as often as the file ``lives`` has letters; the job
    ``broken`` raises.
    """

    trace: Path
    seconds: float = 0.0
    fatal: str = ""
    lives: Path | None = None
    broken: str = ""
    quick: str = ""

    def __call__(self, job):
        if job.key != self.quick:
            time.sleep(self.seconds)
        if job.key == self.broken:
            raise CelosiaError("broken")
        if job.key == self.fatal and self.lives is not None and self.lives.read_text():
            self.lives.write_text(self.lives.read_text()[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        with self.trace.open("a") as out:
            out.write(f"{job.key} {os.getpid()}\n")
        return Outcome(area=job.area, cycles=1000 + int(job.key))


def traced(path):
    """Return the keys that were evaluated, and the processes that did it."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [key for key, _ in lines], {pid for _, pid in lines}

"""Workers on this machine: processes that are replaced when they die."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Generic, TypeVar

from celosia.models.errors import CelosiaError

LOSSES: Final = 3
"""Workers that one job may cost before it is believed to be the reason."""

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")

# Not a fork: the process that asks has threads.
_CONTEXT: Final = multiprocessing.get_context("spawn")


def _work(evaluate: Callable[[Any], Any], link: Connection) -> None:
    """Evaluate what comes over ``link`` until it is closed."""
    # Ctrl-C reaches all processes of a terminal; what becomes of workers, the asking one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):
        while True:
            job = link.recv()
            try:
                answer: Any = evaluate(job)
            except Exception as error:
                answer = error
            link.send(answer)


class _Worker:
    """One process, with the position of the job that it has, if any."""

    def __init__(self, evaluate: Callable[[Any], Any]) -> None:
        self.link, other = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_work, args=(evaluate, other), daemon=True)
        self._process.start()
        other.close()
        self.position: int | None = None

    def give(self, position: int, job: Any) -> None:
        self.position = position
        # One that has died is noticed when its answer is waited for.
        with suppress(OSError):
            self.link.send(job)

    def end(self) -> None:
        """End the process now, whatever it is doing."""
        self.link.close()
        self._process.kill()
        self._process.join()


class Workers(Generic[Job, Outcome]):
    """An executor of ``count`` processes on this machine; in this process where it is 1.

    A worker that dies (killed, out of memory) is replaced, and its job given out again.

    Parameters
    ----------
    evaluate
        Gives the outcome of a job. It goes to workers, so it can be pickled.
    count
        Of processes.
    describe
        Says what a job is, in the error when it costs several workers.
    """

    def __init__(
        self, evaluate: Callable[[Job], Outcome], count: int, describe: Callable[[Job], str] = repr
    ) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count!r}")
        self._evaluate = evaluate
        self._count = count
        self._describe = describe
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers[Job, Outcome]:
        return self

    def __exit__(self, *_: object) -> None:
        while self._workers:
            self._workers.pop().end()

    def outcomes(self, jobs: Sequence[Job]) -> Generator[tuple[int, Outcome]]:
        if self._count == 1:
            yield from ((index, self._evaluate(job)) for index, job in enumerate(jobs))
            return
        waiting = deque(range(len(jobs)))
        losses = [0] * len(jobs)
        left = len(jobs)
        try:
            while left:
                self._hand_out(jobs, waiting)
                for worker in self._ready():
                    position = worker.position
                    assert position is not None
                    try:
                        answer = worker.link.recv()
                    except (EOFError, OSError) as error:
                        self._workers.remove(worker)
                        worker.end()
                        losses[position] += 1
                        if losses[position] == LOSSES:
                            raise CelosiaError(self._blame(jobs[position])) from error
                        waiting.appendleft(position)
                        continue
                    worker.position = None
                    if isinstance(answer, Exception):
                        raise answer
                    left -= 1
                    yield position, answer
        finally:
            # What nobody waits for any more: deadline, Ctrl-C, an error.
            for worker in [worker for worker in self._workers if worker.position is not None]:
                self._workers.remove(worker)
                worker.end()

    def _hand_out(self, jobs: Sequence[Job], waiting: deque[int]) -> None:
        idle = [worker for worker in self._workers if worker.position is None]
        while waiting and (idle or len(self._workers) < self._count):
            if not idle:
                idle.append(_Worker(self._evaluate))
                self._workers.append(idle[0])
            position = waiting.popleft()
            idle.pop().give(position, jobs[position])

    def _ready(self) -> list[_Worker]:
        busy = {w.link: w for w in self._workers if w.position is not None}
        ready = set(wait(list(busy)))
        return [worker for link, worker in busy.items() if link in ready]

    def _blame(self, job: Job) -> str:
        return (
            f"{LOSSES} workers ended while they evaluated {self._describe(job)}: this machine may "
            f"have too little memory for {self._count} workers; ask for fewer with --workers"
        )

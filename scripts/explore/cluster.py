"""Workers of a Dask cluster: on this machine, at a scheduler's address, of SLURM or LSF.

Dask gives a job out again when its worker is lost. When the scheduler is lost, its clients lose
all their jobs: as soon as it answers again, what has no outcome yet is given out once more.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any, Final

import distributed
from distributed.comm.addressing import get_address_host_port

from celosia.dataflow.explore.outcome import Outcome
from celosia.dataflow.explore.search import Evaluate, Job
from celosia.models.errors import CelosiaError

PATIENCE: Final = 120.0
"""Seconds that a lost scheduler may take to come back."""

BEGINNING: Final = 10.0
"""Seconds that a scheduler may take to answer at first."""

QUEUED: Final = 86_400.0
"""Seconds that the first job may wait in the queue of SLURM or LSF."""

LOSSES: Final = 5
"""Times in a row that jobs may be lost with no outcome in between."""

LOCAL: Final = "local"

QUEUES: Final = {"slurm": "SLURMCluster", "lsf": "LSFCluster"}
"""Classes of dask-jobqueue by what ``--cluster`` calls them."""

# Of a connection that ends, and of jobs that went with it or with the last copy of their data.
_LOST: Final = (CancelledError, OSError, TimeoutError)


def _run(evaluate: Evaluate, job: Job) -> Outcome:
    return evaluate(job)


class Cluster:
    """An executor whose workers are those of the Dask scheduler at ``address``.

    ``evaluate`` is what workers do; each gets it once. ``beginning`` is how many seconds the first
    worker may take to be there, ``patience`` how many a lost scheduler may take to come back.

    Raises
    ------
    CelosiaError
        When no scheduler with workers answers; in :meth:`outcomes` too, when it stays
        away, or workers end again and again.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        address: str,
        beginning: float = BEGINNING,
        patience: float = PATIENCE,
    ) -> None:
        self._evaluate = evaluate
        self._address = address
        self._patience = patience
        self._client: Any = None
        self._sent: Any = None
        self._connect(beginning)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _connect(self, patience: float) -> None:
        """Make a client and send its workers what to do; try again while ``patience`` lasts."""
        deadline = time.monotonic() + patience
        while True:
            try:
                # A client of a wrong address is never whole, and ends with an error of its own.
                get_address_host_port(self._address)
                wait = max(1.0, min(10.0, deadline - time.monotonic()))
                self._client = distributed.Client(self._address, timeout=wait, set_as_default=False)
                self._client.wait_for_workers(1, timeout=wait)
                self._sent = self._client.scatter(self._evaluate, broadcast=True, hash=False)
            except (*_LOST, ValueError) as error:
                self._leave()
                if isinstance(error, ValueError) or time.monotonic() >= deadline:
                    raise CelosiaError(
                        f"no Dask scheduler with workers answers at {self._address} ({error}): "
                        "start one with 'dask scheduler' and 'dask worker ADDRESS', or let "
                        "--cluster local do it"
                    ) from error
                time.sleep(0.1)
            else:
                return

    def _leave(self) -> None:
        client, self._client, self._sent = self._client, None, None
        if client is not None:
            with suppress(*_LOST):
                client.close(timeout=2)

    def outcomes(self, jobs: Sequence[Job]) -> Generator[tuple[int, Outcome]]:
        waiting = set(range(len(jobs)))
        losses = 0
        while waiting:
            try:
                for position, outcome in self._outcomes(jobs, sorted(waiting)):
                    losses = 0
                    waiting.discard(position)
                    yield position, outcome
            except _LOST as error:
                losses += 1
                if losses == LOSSES:
                    raise CelosiaError(
                        f"the cluster at {self._address} lost its jobs {losses} times without an "
                        f"outcome ({error}): look at its workers' logs"
                    ) from error
                self._leave()
                self._connect(self._patience)

    def _outcomes(
        self, jobs: Sequence[Job], positions: Sequence[int]
    ) -> Generator[tuple[int, Outcome]]:
        client = self._client
        left = {client.submit(_run, self._sent, jobs[i], pure=False): i for i in positions}
        try:
            for future in distributed.as_completed(left, loop=client.loop):
                yield left[future], future.result()
        except distributed.KilledWorker as error:
            raise CelosiaError(
                f"workers of the cluster at {self._address} end while they evaluate ({error}): "
                "give them more memory"
            ) from error
        finally:
            with suppress(*_LOST):
                client.cancel(list(left), force=True)


@contextmanager
def cluster_of(kind: str, evaluate: Evaluate, workers: int) -> Iterator[Cluster]:
    """Yield the executor that ``--cluster`` asks for, with ``workers`` where it starts them.

    Parameters
    ----------
    kind
        ``local``, ``slurm``, ``lsf``, or the address of a scheduler that runs already.
    evaluate, workers
        What workers do, and how many to start.

    Raises
    ------
    CelosiaError
        As :class:`Cluster`; when dask-jobqueue is not installed or not configured.
    """
    beginning = BEGINNING
    if kind == LOCAL:
        # Without a dashboard: it would need a port, and packages that are not installed.
        options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None}
        started: Any = distributed.LocalCluster(n_workers=workers, **options)
    elif kind in QUEUES:
        started, beginning = _queued(kind, workers), QUEUED
    else:
        with Cluster(evaluate, kind) as cluster:
            yield cluster
        return
    with started, Cluster(evaluate, started.scheduler_address, beginning) as cluster:
        yield cluster


def _queued(kind: str, workers: int) -> Any:
    try:
        module = importlib.import_module("dask_jobqueue")
    except ImportError as error:
        raise CelosiaError(
            f"--cluster {kind} needs dask-jobqueue: pip install 'celosia[cluster]'"
        ) from error
    try:
        started = getattr(module, QUEUES[kind])()
        started.scale(workers)
    except (ValueError, OSError, RuntimeError) as error:
        raise CelosiaError(
            f"no cluster of {kind} can be started: {error}. What a job asks for (cores, memory, "
            "queue, account) is configured in jobqueue.yaml, see dask-jobqueue's documentation"
        ) from error
    return started

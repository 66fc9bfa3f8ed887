"""The search loop: generations of points in, outcomes from workers and a store, trials out.

Nothing that a strategy sees depends on who evaluated a point, when, or in which order: it is told
whole generations in the order of its own points. So a search with a seed finds the same
whatever the number of workers, and one that was interrupted goes on by being run again: what the
store has is not evaluated a second time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.explore.knobs import Point
from celosia.dataflow.explore.outcome import Goal, Outcome
from celosia.dataflow.explore.space import AcceleratorSpace
from celosia.dataflow.explore.strategy import Score, Strategy, Trial, front

STALLED = 60
"""Generations in a row without a new accelerator after which a strategy is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An accelerator to evaluate with a variant of the network.

    ``key`` stands for both; ``area`` is what the accelerator takes of a device.
    """

    accelerator: Accelerator
    variant: int
    area: dict[str, float]
    key: str


Evaluate = Callable[[Job], Outcome]
"""Gives the outcome of a job. It goes to workers, so it can be pickled."""


class Executor(Protocol):
    """Evaluates jobs, somewhere."""

    def outcomes(self, jobs: Sequence[Job]) -> Generator[tuple[int, Outcome]]:
        """Yield the position of each job with its outcome, as they come; closing it stops them."""
        ...


class Store(Protocol):
    """Keeps outcomes beyond the end of a process."""

    def known(self, keys: Sequence[str]) -> dict[str, Outcome]:
        """Return what is kept of ``keys``."""
        ...

    def add(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome, durably, before returning."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An accelerator that was considered, and what is known of it."""

    point: Point
    job: Job
    outcome: Outcome
    score: Score

    @property
    def rank(self) -> tuple[tuple[float, tuple[float, ...]], Point]:
        """The fixed order of candidates, the best first."""
        return self.score.rank, self.point


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How a search stands: candidates considered, evaluated, taken from the store; the best."""

    considered: int
    evaluated: int
    stored: int
    seconds: float
    best: Candidate | None

    @property
    def rate(self) -> float:
        """Candidates evaluated a second."""
        return self.evaluated / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found: every accelerator considered, each once, in the order of asking.

    ``ended`` says in words why the search ended.
    """

    candidates: tuple[Candidate, ...]
    progress: Progress
    ended: str

    @property
    def best(self) -> Candidate | None:
        """The best that is within all limits."""
        return self.progress.best

    @property
    def nearest(self) -> Candidate | None:
        """The one that breaks limits the least, where none is within them."""
        return min(self.candidates, key=lambda found: found.rank, default=None)

    @property
    def front(self) -> list[Candidate]:
        """What no other dominates, the best first."""
        by_point = {found.point: found for found in self.candidates}
        trials = [Trial(point=found.point, score=found.score) for found in self.candidates]
        return [by_point[trial.point] for trial in front(trials)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """When to stop: seconds of wall clock, accelerators considered; None for no such limit."""

    seconds: float | None = None
    candidates: int | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "candidates"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value!r}")


class Search:
    """One search.

    Parameters
    ----------
    space, goal
        What is searched, and for what.
    area
        What an accelerator takes of a device, as :attr:`Outcome.area`. What is over a limit by
        that is not evaluated.
    key
        A text that is different for jobs with different outcomes.
    strategy, executor, store
        Who proposes, who evaluates, who remembers.
    """

    def __init__(
        self,
        *,
        space: AcceleratorSpace,
        goal: Goal,
        area: Callable[[Accelerator], dict[str, float]],
        key: Callable[[Accelerator, int], str],
        strategy: Strategy,
        executor: Executor,
        store: Store,
    ) -> None:
        self._space = space
        self._goal = goal
        self._area = area
        self._key = key
        self._strategy = strategy
        self._executor = executor
        self._store = store
        self._outcomes: dict[str, Outcome] = {}
        self._order: dict[str, int] = {}
        self._candidates: dict[str, Candidate] = {}
        self._best: Candidate | None = None
        self._evaluated = self._stored = 0

    def run(self, effort: Effort, report: Callable[[Progress], None]) -> Found:
        """Search until the effort is spent or nothing is left; ``report`` is told how it stands."""
        begin = time.monotonic()
        deadline = None if effort.seconds is None else begin + effort.seconds
        stalled = 0

        def progress() -> Progress:
            return Progress(
                considered=len(self._candidates),
                evaluated=self._evaluated,
                stored=self._stored,
                seconds=time.monotonic() - begin,
                best=self._best,
            )

        ended = ""
        while not ended:
            points = self._strategy.ask()
            before = len(self._order)
            jobs = self._jobs(points, effort.candidates)
            whole = self._evaluate(points, jobs, deadline, lambda: report(progress()))
            stalled = stalled + 1 if len(self._order) == before else 0
            if not points:
                ended = "every accelerator of the space was considered"
            elif not whole:
                ended = "the time is up"
            elif len(self._order) == effort.candidates:
                ended = "as many accelerators as asked for were considered"
            elif stalled >= STALLED:
                ended = "the strategy proposes nothing new"
            else:
                self._strategy.tell(self._trials(points, jobs))
        found = sorted(self._candidates.values(), key=lambda found: self._order[found.job.key])
        return Found(candidates=tuple(found), progress=progress(), ended=ended)

    def _jobs(self, points: Sequence[Point], most: int | None) -> list[Job]:
        """Return the jobs of the points, up to ``most`` different ones in the whole search."""
        jobs = []
        for point in points:
            if len(self._order) == most:
                break
            accelerator, variant = self._space.accelerator(point), self._space.variant(point)
            key = self._key(accelerator, variant)
            self._order.setdefault(key, len(self._order))
            area = self._area(accelerator)
            jobs.append(Job(accelerator=accelerator, variant=variant, area=area, key=key))
        return jobs

    def _evaluate(
        self,
        points: Sequence[Point],
        jobs: Sequence[Job],
        deadline: float | None,
        tell: Callable[[], None],
    ) -> bool:
        """Make the outcome of every job known; whether that was done before the deadline."""
        new: dict[str, Job] = {}
        for job in jobs:
            if job.key in self._outcomes or job.key in new:
                continue
            outline = Outcome(area=job.area)
            if self._goal.broken(outline, job.variant):
                self._outcomes[job.key] = outline
            else:
                new[job.key] = job
        kept = self._store.known(list(new))
        self._outcomes |= kept
        self._stored += len(kept)
        waiting = [job for key, job in new.items() if key not in kept]
        self._note(points, jobs)
        tell()
        if deadline is not None and time.monotonic() >= deadline:
            return not waiting
        if waiting:
            with closing(self._executor.outcomes(waiting)) as coming:
                for count, (position, outcome) in enumerate(coming, 1):
                    self._store.add(waiting[position].key, outcome)
                    self._outcomes[waiting[position].key] = outcome
                    self._evaluated += 1
                    self._note(points, jobs)
                    tell()
                    if deadline is not None and time.monotonic() >= deadline:
                        return count == len(waiting)
        return True

    def _note(self, points: Sequence[Point], jobs: Sequence[Job]) -> None:
        """Take what has an outcome among the candidates, for the first point that stands for it."""
        # Points of a generation that was cut short have no job.
        for point, job in zip(points, jobs, strict=False):
            if job.key in self._candidates or job.key not in self._outcomes:
                continue
            outcome = self._outcomes[job.key]
            score = self._goal.score(outcome, job.variant)
            found = Candidate(point=point, job=job, outcome=outcome, score=score)
            self._candidates[job.key] = found
            if score.feasible and (self._best is None or found.rank < self._best.rank):
                self._best = found

    def _trials(self, points: Sequence[Point], jobs: Sequence[Job]) -> list[Trial]:
        return [
            Trial(point=point, score=self._goal.score(self._outcomes[job.key], job.variant))
            for point, job in zip(points, jobs, strict=True)
        ]

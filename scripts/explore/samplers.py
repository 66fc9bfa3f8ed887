"""Optuna's samplers as strategies: TPE, NSGA-II, CMA-ES.

Points are asked for a generation at a time, and told in order, so results depend on the seed
alone. Constraints go to the samplers that take them (TPE, NSGA-II). To CMA-ES what breaks them, and
to all what could not be evaluated, has a larger value than any other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from celosia.dataflow.explore.knobs import Point, Space
from celosia.dataflow.explore.strategy import Strategy, Trial

_VIOLATION: Final = "violation"
_HUGE: Final = 1e30


def _tpe(seed: int, generation: int) -> Any:
    return optuna.samplers.TPESampler(
        seed=seed,
        multivariate=True,
        constant_liar=True,  # what is asked for together should differ
        n_startup_trials=generation,
    )


def _nsga2(seed: int, generation: int) -> Any:
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=generation)


def _cma_es(seed: int, generation: int) -> Any:
    return optuna.samplers.CmaEsSampler(
        seed=seed, popsize=generation, n_startup_trials=generation, warn_independent_sampling=False
    )


SAMPLERS: Final[dict[str, Callable[[int, int], Any]]] = {
    "tpe": _tpe,
    "nsga2": _nsga2,
    "cma-es": _cma_es,
}
"""The samplers by name."""


class Sampler(Strategy):
    """One of Optuna's samplers.

    Parameters
    ----------
    space, seed
        What to search, and the seed of the sampler.
    sampler
        A name in :data:`SAMPLERS`.
    values
        How many values a score has; NSGA-II takes them all, the others the first.
    first
        Points to try before the sampler proposes any.
    generation
        Points asked for at a time.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        *,
        sampler: str,
        values: int,
        first: Sequence[Point] = (),
        generation: int = 16,
    ) -> None:
        self._space = space
        self._generation = generation
        self._values = values if sampler == "nsga2" else 1
        self._ints = sampler == "cma-es"  # it moves in numbers alone
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            # Batches and constraints are marked as experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                sampler=SAMPLERS[sampler](seed, generation),
                directions=[optuna.study.StudyDirection.MINIMIZE] * self._values,
            )
        for point in first:
            self._study.enqueue_trial(self._parameters(space.repaired(point)))
        self._distributions = {
            knob.name: self._distribution(len(knob.choices), knob.ordered) for knob in space.knobs
        }
        self._asked: list[optuna.trial.Trial] = []

    def _parameters(self, point: Point) -> dict[str, int]:
        return {k.name: index for k, index in zip(self._space.knobs, point, strict=True)}

    def _distribution(self, choices: int, ordered: bool) -> BaseDistribution:
        if ordered or self._ints:
            return IntDistribution(0, choices - 1)
        return CategoricalDistribution(range(choices))

    def ask(self) -> list[Point]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._asked = [self._study.ask(self._distributions) for _ in range(self._generation)]
        return [
            self._space.repaired([trial.params[knob.name] for knob in self._space.knobs])
            for trial in self._asked
        ]

    def tell(self, trials: Sequence[Trial]) -> None:
        for asked, trial in zip(self._asked, trials, strict=True):
            values = [min(value, _HUGE) for value in trial.score.values[: self._values]]
            if not self._ints:
                asked.set_constraint(_VIOLATION, trial.score.violation)
            elif not trial.score.feasible:
                values = [_HUGE * (1 + min(trial.score.violation, 100.0))]
            self._study.tell(asked, values)

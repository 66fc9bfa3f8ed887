"""Differentiable search: DNA's (arXiv 2010.14778), as the released code of Auto-NBA has it.

Each knob has logits. A straight-through Gumbel-softmax draws one choice of each; choices that the
knobs before rule out are masked. The loss is the cost L of the drawn point times
``prod(stopgrad(1 - p) + p)``, with p the soft probability of the choice drawn, so its value is L
and its derivative by every p is L: a gradient of the logits without one of the cost model.

What is ours: costs are compared with those seen so far (their standard score), since raw costs
make every choice drawn less likely; and points over a limit count as bad ones instead of being left
out, which would bias the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from celosia.dataflow.explore.knobs import Point, Space
from celosia.dataflow.explore.strategy import Strategy, Trial


@dataclass(slots=True)
class _Adam:
    """Adam (Kingma and Ba, 2015) for one array of parameters."""

    rate: float
    betas: tuple[float, float]
    mean: np.ndarray
    square: np.ndarray
    steps: int = 0

    def step(self, parameters: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return ``parameters`` after one step against ``gradient``."""
        first, second = self.betas
        self.steps += 1
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        mean = self.mean / (1 - first**self.steps)
        square = self.square / (1 - second**self.steps)
        return np.asarray(parameters - self.rate * mean / (np.sqrt(square) + 1e-8))


@dataclass(slots=True)
class _Draw:
    """A point drawn, with the soft probabilities of each knob's choices (0 where masked)."""

    point: Point
    soft: list[np.ndarray] = field(default_factory=list)


def soft_gradient(soft: np.ndarray, chosen: int, cost: float, temperature: float) -> np.ndarray:
    """Return the gradient of the loss by the logits of one knob.

    Parameters
    ----------
    soft
        Probabilities of its choices after the noise, float64 (choices,).
    chosen
        The choice drawn.
    cost
        The loss, which is its derivative by ``soft[chosen]``.
    temperature
        By which logits and noise were divided.
    """
    one_hot = np.zeros_like(soft)
    one_hot[chosen] = 1
    return np.asarray(cost * soft[chosen] * (one_hot - soft) / temperature)


class Gumbel(Strategy):
    """Straight-through Gumbel-softmax over the knobs' choices.

    Parameters
    ----------
    space, seed
        What to search, and the seed of the noise.
    first
        Points to try before any is drawn.
    generation
        Points asked for at a time; their gradients are averaged.
    rate, betas
        Of Adam.
    temperature, cooling
        Of the softmax at the start, and its factor for each generation, down to 0.2.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        *,
        first: Sequence[Point] = (),
        generation: int = 16,
        rate: float = 0.1,
        betas: tuple[float, float] = (0.5, 0.999),
        temperature: float = 3.0,
        cooling: float = 0.97,
    ) -> None:
        if generation < 1:
            raise ValueError(f"generation must be at least 1, not {generation!r}")
        if not (rate > 0 and temperature > 0 and 0 < cooling <= 1):
            raise ValueError(
                f"rate and temperature must be above 0 and cooling in 0..1, not "
                f"{rate!r}, {temperature!r} and {cooling!r}"
            )
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._first = [space.repaired(point) for point in first]
        self._generation = generation
        self._temperature, self._cooling = temperature, cooling
        self._logits = [np.full(len(knob.choices), 1e-3) for knob in space.knobs]
        self._adams = [_Adam(rate, betas, np.zeros(len(x)), np.zeros(len(x))) for x in self._logits]
        self._draws: list[_Draw] = []
        self._costs: list[float] = []
        self._worst = -math.inf

    def ask(self) -> list[Point]:
        points = self._first[: self._generation]
        del self._first[: self._generation]
        drawn = [self._draw() for _ in range(self._generation - len(points))]
        self._draws = [_Draw(point) for point in points] + drawn
        return [draw.point for draw in self._draws]

    def _draw(self) -> _Draw:
        draw = _Draw(())
        for logits in self._logits:
            allowed = self._space.allowed(draw.point)
            noisy = np.full(len(logits), -np.inf)
            noise = self._rng.gumbel(size=len(logits))[allowed]
            noisy[allowed] = (logits[allowed] + noise) / self._temperature
            soft = np.exp(noisy - noisy.max())
            draw.soft.append(soft / soft.sum())
            draw.point = (*draw.point, int(noisy.argmax()))
        return draw

    def tell(self, trials: Sequence[Trial]) -> None:
        costs = [self._cost(trial) for trial in trials]
        self._costs += costs
        spread = float(np.std(self._costs)) or 1.0
        mean = float(np.mean(self._costs))
        gradients = [np.zeros_like(logits) for logits in self._logits]
        drawn = [(d, c) for d, c in zip(self._draws, costs, strict=True) if d.soft]
        for draw, cost in drawn:
            advantage = (cost - mean) / spread
            for gradient, soft, chosen in zip(gradients, draw.soft, draw.point, strict=True):
                gradient += soft_gradient(soft, chosen, advantage, self._temperature) / len(drawn)
        if drawn:
            self._logits = [
                adam.step(logits, gradient)
                for adam, logits, gradient in zip(self._adams, self._logits, gradients, strict=True)
            ]
        self._temperature = max(0.2, self._temperature * self._cooling)

    def _cost(self, trial: Trial) -> float:
        """Return the logarithm of the first value; of the worst seen, and more, over a limit."""
        value = trial.score.values[0]
        if trial.score.feasible and math.isfinite(value):
            # Values may be negative: what is to be made large is told with a minus sign.
            cost = math.copysign(math.log1p(abs(value)), value)
            self._worst = max(self._worst, cost)
            return cost
        worst = self._worst if math.isfinite(self._worst) else 0.0
        return worst + 1 + min(trial.score.violation, 10.0)

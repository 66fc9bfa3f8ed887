import itertools
import random

import pytest

from celosia.dataflow.accelerator_file import fingerprint
from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.explore.demand import Demand
from celosia.dataflow.explore.evolution import Evolution
from celosia.dataflow.explore.gumbel import Gumbel
from celosia.dataflow.explore.outcome import Goal, Outcome, Quantity, parse_limit
from celosia.dataflow.explore.search import Effort, Search
from celosia.dataflow.explore.space import AcceleratorSpace
from celosia.dataflow.explore.strategy import Exhaustive, dominates
from celosia.models.formats import Fixed
from celosia.models.operations import MULTIPLY

NEED = Demand(abilities=((Fixed(bits=8), MULTIPLY),), activation_bits=8, accumulator_bits=20)
SMALL = {
    "columns": [4, 8, 16, 32], "lanes": [8, 16], "pixels": [1, 2, 4], "hard": [0, 8],
    "scalable": ["none"], "data_bits": [64], "post_lanes": [4], "activations": [1024],
    "weights": [256], "accumulators": [256], "constants": [16], "residuals": [64],
    "outputs": [256], "activation_banks": [1],
}  # fmt: skip


def area(accelerator):
    hard = sum(g.count for g in accelerator.array.columns if g.circuit is Circuit.DSP)
    share = accelerator.array.lanes * accelerator.array.pixels
    soft = accelerator.array.column_count - hard
    lut = 50.0 * soft * share + 5 * hard * share
    return {"lut": lut, "ff": 0.0, "dsp": hard * share / 2, "bram": 8.0}


def evaluate(job):
    array = job.accelerator.array
    if array.column_count == 32 and array.lanes == 8:
        return Outcome(area=job.area, problem="does not fit")
    cycles = 10_000_000 // array.products + 100 * array.pixels
    return Outcome(area=job.area, cycles=cycles, energy=cycles / 10)


class Here:
    """Evaluates in an order drawn from ``seed``; stops after ``most`` evaluations."""

    def __init__(self, seed=0, most=None):
        self.random = random.Random(seed)
        self.done = []
        self.most = most

    def outcomes(self, jobs):
        order = list(range(len(jobs)))
        self.random.shuffle(order)
        for position in order:
            if len(self.done) == self.most:
                raise KeyboardInterrupt
            self.done.append(jobs[position].key)
            yield position, evaluate(jobs[position])


class Memory:
    def __init__(self):
        self.kept = {}

    def known(self, keys):
        return {key: self.kept[key] for key in keys if key in self.kept}

    def add(self, key, outcome):
        assert key not in self.kept
        self.kept[key] = outcome


def run(make, executor=None, store=None, limits=(), **effort):
    space = AcceleratorSpace([NEED], Circuit.DSP, "found", SMALL)
    goal = Goal(objective=Quantity.FPS, limits=tuple(map(parse_limit, limits)), clock_mhz=100.0)
    search = Search(
        space=space,
        goal=goal,
        area=area,
        key=lambda accelerator, variant: f"{variant}{fingerprint(accelerator)}",
        strategy=make(space),
        executor=executor or Here(),
        store=store or Memory(),
    )
    return search.run(Effort(**effort), lambda progress: None)


@pytest.mark.parametrize("make", [Exhaustive, lambda s: Evolution(s, 5), lambda s: Gumbel(s, 5)])
def test_workers_change_nothing_that_is_found(make):
    found = [run(make, Here(seed), limits=["lut<=9000"], candidates=30) for seed in (1, 2)]
    assert found[0].candidates == found[1].candidates
    assert found[0].best == found[1].best
    assert found[0].ended == found[1].ended


def test_exhaustive_search_finds_the_best_and_the_front():
    found = run(Exhaustive, limits=["lut<=9000", "dsp<=400"])
    assert found.ended == "every accelerator of the space was considered"
    assert len(found.candidates) == 48
    feasible = [c for c in found.candidates if c.score.feasible]
    assert found.best == min(feasible, key=lambda c: c.rank)
    assert found.best.outcome.cycles == min(c.outcome.cycles for c in feasible)
    values = [c.score.values for c in feasible]
    wanted = {v for v in values if not any(dominates(w, v) for w in values)}
    assert {c.score.values for c in found.front} == wanted


def test_what_is_over_the_budget_is_not_evaluated():
    executor = Here()
    found = run(Exhaustive, executor, limits=["lut<=9000", "dsp<=100"])
    over = [c for c in found.candidates if c.outcome.area["lut"] > 9000]
    over += [c for c in found.candidates if c.outcome.area["dsp"] > 100]
    assert over
    assert not {c.job.key for c in over} & set(executor.done)
    assert all(c.outcome.cycles is None and not c.score.feasible for c in over)


def test_an_interrupted_search_goes_on_where_it_was():
    store, whole = Memory(), run(Exhaustive)
    done = []
    for most in (5, 9, None):
        executor = Here(most=most)
        try:
            found = run(Exhaustive, executor, store)
        except KeyboardInterrupt:
            pass
        done += executor.done
    assert len(done) == len(set(done)) == 48
    assert found.candidates == whole.candidates
    assert found.progress.stored == 14


def test_the_time_limit_keeps_what_is_known(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    found = run(Exhaustive, seconds=40)
    assert found.ended == "the time is up"
    assert 0 < len(found.candidates) < 48
    assert found.best is not None


def test_the_number_of_candidates_is_kept_to():
    found = run(lambda space: Evolution(space, 1), candidates=21)
    assert len(found.candidates) == 21
    assert found.ended == "as many accelerators as asked for were considered"


def test_a_strategy_that_proposes_nothing_new_ends():
    found = run(lambda space: Gumbel(space, 1, rate=5.0))
    assert found.ended == "the strategy proposes nothing new"


def test_where_nothing_is_within_the_limits_the_nearest_is_known():
    found = run(Exhaustive, limits=["lut<=100"])
    assert found.best is None
    assert found.front == []
    nearest = min(c.score.violation for c in found.candidates)
    assert found.nearest is not None
    assert found.nearest.score.violation == nearest


def test_efforts_are_positive():
    with pytest.raises(ValueError, match="seconds must be above 0"):
        Effort(seconds=0)

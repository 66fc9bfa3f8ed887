import pytest

from celosia.dataflow.explore.knobs import Knob, PlainSpace
from celosia.dataflow.explore.strategy import Score, Trial
from celosia.scripts.explore.samplers import SAMPLERS, Sampler

SPACE = PlainSpace(
    all=(
        *(Knob(name=f"k{i}", choices=tuple(range(9))) for i in range(3)),
        Knob(name="kind", choices=("a", "b"), ordered=False),
    )
)


def score(point):
    far = float(sum((x - 6) ** 2 for x in point[:3])) + 5 * point[3]
    if point[0] == 8:
        return Score(values=(float("inf"), float("inf")), violation=1.0)
    return Score(values=(far, float(point[1])), violation=max(0.0, point[2] - 7.0))


def run(name, seed, first=()):
    sampler = Sampler(SPACE, seed, sampler=name, values=2, first=first, generation=8)
    trials = []
    for _ in range(8):
        told = [Trial(point=point, score=score(point)) for point in sampler.ask()]
        sampler.tell(told)
        trials += told
    return trials


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_are_deterministic_and_get_better(name):
    trials = run(name, 3)
    assert trials == run(name, 3)
    assert trials != run(name, 4)
    assert all(SPACE.repaired(trial.point) == trial.point for trial in trials)
    begin, end = (min(t.rank for t in part) for part in (trials[:8], trials))
    assert end < begin
    assert end[0][0] == 0


@pytest.mark.parametrize("name", SAMPLERS)
def test_first_points_are_asked_for_first(name):
    assert [t.point for t in run(name, 1, first=[(1, 2, 3, 1), (6, 6, 6, 0)])[:2]] == [
        (1, 2, 3, 1),
        (6, 6, 6, 0),
    ]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("seed", [3, 4])
def test_samplers_find_the_optimum(name, seed):
    """Of 1,458 points, one of which is the best, within 256."""
    sampler = Sampler(SPACE, seed, sampler=name, values=2, generation=16)
    trials = []
    for _ in range(16):
        told = [Trial(point=point, score=score(point)) for point in sampler.ask()]
        sampler.tell(told)
        trials += told
    best = min(trials, key=lambda trial: trial.rank)
    assert best.score.rank == min(score(point).rank for point in SPACE.points())
    assert len({trial.point for trial in trials}) < SPACE.size / 5

import math

import pytest

from celosia.dataflow.explore.outcome import (
    MAPPED,
    Goal,
    Limit,
    Outcome,
    Quantity,
    parse_limit,
)
from celosia.models.errors import CelosiaError

AREA = {"lut": 1000.0, "ff": 500.0, "dsp": 10.0, "bram": 4.0}
RUN = Outcome(
    area=AREA, cycles=2_000_000, bound=1_900_000, energy=50.0, energy_bound=40.0,
    dram=4096, dram_bound=4096,
)  # fmt: skip


def goal(objective=Quantity.FPS, *limits, accuracies=(None,)):
    return Goal(
        objective=objective,
        limits=tuple(parse_limit(text) for text in limits),
        clock_mhz=200.0,
        accuracies=accuracies,
    )


def test_quantities_follow_from_cycles_and_counts():
    made = goal(accuracies=(0.9,))
    amounts = {q.value: made.measure(RUN, 0, q) for q in Quantity}
    assert amounts == {
        "fps": 100.0, "energy": 50.0, "edp": 500.0, "dram": 4096, "accuracy": 0.9, **AREA,
    }  # fmt: skip


def test_bounds_are_beside_what_mappings_decide():
    made = goal(accuracies=(0.9,))
    bounds = {q.value: made.bound(RUN, q) for q in Quantity if made.bound(RUN, q) is not None}
    assert bounds == {"fps": pytest.approx(2000 / 19), "energy": 40.0, "edp": 380.0, "dram": 4096}
    gaps = {q.value: made.gap(RUN, q) for q in Quantity if made.gap(RUN, q) is not None}
    assert gaps == pytest.approx({"fps": 0.05, "energy": 0.2, "edp": 0.24, "dram": 0.0})
    assert made.gap(Outcome(area=AREA), Quantity.FPS) is None


def test_what_is_not_known_is_infinite_and_breaks_nothing():
    made = goal(Quantity.FPS, "fps>=100", "lut<=2000")
    outline = Outcome(area=AREA)
    assert made.broken(outline, 0) == []
    assert made.score(outline, 0).values[0] == math.inf
    refused = Outcome(area=AREA, problem="does not fit")
    assert made.violation(refused, 0) == 1.0


def test_limits_say_by_how_much_they_are_broken():
    made = goal(Quantity.LUT, "fps>=250", "lut<=800", "dsp<=0", "energy<=50")
    assert made.broken(RUN, 0) == [
        "it reaches 100 frames/s, the limit is 250: 150 too few",
        "it needs 1,000 look-up tables, the limit is 800: 200 too many",
        "it needs 10 DSP blocks, the limit is 0: 10 too many",
    ]
    assert made.violation(RUN, 0) == pytest.approx(150 / 250 + 200 / 800 + 10)


@pytest.mark.parametrize(
    ("text", "found", "said"),
    [
        ("lut<=900", 7035.12, "needs 7,036 look-up tables, the limit is 900: 6,136 too many"),
        ("bram<=3.5", 4.5, "needs 5 block RAMs, the limit is 3.5: 2 too many"),
        ("fps>=250", 249.96, "reaches 249.960 frames/s, the limit is 250: 0.040 too few"),
        ("fps>=1e15", 3.0, "reaches 3 frames/s, the limit is 1e+15: 999,999,999,999,997 too"),
        ("dram<=1000000", 1234567.0, "moves 1,234,567 bytes a frame, the limit is 1,000,000: 234,"),
        ("energy<=0", 12.34, "takes 12 uJ a frame, the limit is 0: 12 too much"),
        ("edp<=2", 4.04, "takes 4.0 uJ ms a frame, the limit is 2: 2.0 too much"),
        ("accuracy>=0.95", 0.9, "has an accuracy of 0.900 of 1, the limit is 0.95: 0.050 too"),
    ],
)
def test_figures_show_by_how_much_a_limit_is_broken(text, found, said):
    assert parse_limit(text).broken(found).startswith(f"it {said}")


def test_what_a_start_of_several_frames_takes_is_shared_by_them():
    made = Goal(objective=Quantity.FPS, limits=(), clock_mhz=200.0, samples=4)
    amounts = {q.value: made.measure(RUN, 0, q) for q in (*MAPPED, Quantity.LUT)}
    assert amounts == {"fps": 400.0, "energy": 12.5, "edp": 31.25, "dram": 1024, "lut": 1000.0}
    assert made.gap(RUN, Quantity.FPS) == goal().gap(RUN, Quantity.FPS)
    for wrong in (0, 257):
        with pytest.raises(ValueError, match=f"samples must be 1 to 256, not {wrong}"):
            Goal(objective=Quantity.FPS, limits=(), clock_mhz=1.0, samples=wrong)


def test_scores_make_small_what_is_wanted():
    made = goal(Quantity.EDP, accuracies=(0.5, 0.75))
    assert [q.value for q in made.front] == [
        "edp", "fps", "energy", "lut", "dsp", "bram", "accuracy",
    ]  # fmt: skip
    assert made.score(RUN, 1).values == (500.0, -100.0, 50.0, 1000.0, 10.0, 4.0, -0.75)


def test_outcomes_are_json():
    assert Outcome.from_dict(RUN.as_dict()) == RUN
    with pytest.raises(TypeError):
        Outcome.from_dict({"area": AREA, "other": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed>=3", "known quantities are fps, energy"),
        ("fps<=3", "more fps is better, so write fps>=3"),
        ("lut>=3", "more lut is worse, so write lut<=3"),
        ("lut<=many", "'many' is no number"),
        ("lut<=-1", "is no number of 0 or more"),
        ("lut<=nan", "is no number of 0 or more"),
        ("lut=3", "write quantity>=number"),
    ],
)
def test_limits_that_are_not_understood_are_refused(text, message):
    with pytest.raises(CelosiaError, match=message):
        parse_limit(text)


def test_goals_refuse_nonsense():
    with pytest.raises(ValueError, match="clock_mhz must be above 0"):
        Goal(objective=Quantity.FPS, limits=(), clock_mhz=0)
    with pytest.raises(ValueError, match="accuracies must be known"):
        goal(Quantity.FPS, "accuracy>=0.5")
    assert Limit(quantity=Quantity.DSP, value=0).excess(3) == 3

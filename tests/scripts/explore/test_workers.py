import multiprocessing
import time

import pytest

from celosia.models.errors import CelosiaError
from celosia.scripts.explore.workers import Workers


@pytest.mark.parametrize("count", [1, 2])
def test_every_job_is_evaluated_once(fakes, jobs, tmp_path, count):
    trace = tmp_path / "trace"
    with Workers(fakes.Traced(trace), count) as workers:
        for _ in range(2):  # the same processes serve again
            found = dict(workers.outcomes(jobs))
            assert {i: outcome.cycles for i, outcome in found.items()} == {
                i: 1000 + i for i in range(len(jobs))
            }
    keys, processes = fakes.traced(trace)
    assert sorted(keys) == sorted([job.key for job in jobs] * 2)
    assert len(processes) <= count


def test_a_job_whose_worker_was_killed_is_given_out_again(fakes, jobs, tmp_path):
    lives = tmp_path / "lives"
    lives.write_text("xx")
    evaluate = fakes.Traced(tmp_path / "trace", fatal="5", lives=lives)
    with Workers(evaluate, 2) as workers:
        found = dict(workers.outcomes(jobs))
    assert sorted(found) == list(range(len(jobs)))
    keys, _ = fakes.traced(tmp_path / "trace")
    assert sorted(keys) == sorted(job.key for job in jobs)
    assert not lives.read_text()


def test_a_job_that_kills_every_worker_is_named(fakes, jobs, tmp_path):
    lives = tmp_path / "lives"
    lives.write_text("x" * 50)
    evaluate = fakes.Traced(tmp_path / "trace", fatal="0", lives=lives)
    with Workers(evaluate, 2) as workers, pytest.raises(CelosiaError, match="3 workers ended"):
        list(workers.outcomes(jobs))


def test_errors_of_workers_arrive(fakes, jobs, tmp_path):
    with (
        Workers(fakes.Traced(tmp_path / "trace", broken="3"), 2) as workers,
        pytest.raises(CelosiaError, match="broken"),
    ):
        list(workers.outcomes(jobs))


def test_leaving_early_ends_what_runs(fakes, jobs, tmp_path):
    with Workers(fakes.Traced(tmp_path / "trace", seconds=300, quick="0"), 2) as workers:
        begin = time.monotonic()
        coming = workers.outcomes(jobs)
        assert next(coming)[0] == 0
        coming.close()
        running = multiprocessing.active_children()
    assert time.monotonic() - begin < 60
    assert len(running) <= 1  # the idle one
    assert not multiprocessing.active_children()


def test_a_worker_at_least():
    with pytest.raises(ValueError, match="count must be at least 1"):
        Workers(print, 0)

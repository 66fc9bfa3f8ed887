"""The main job's own machinery; the job itself is what ``./scripts/quickstart`` runs."""

import time

import pytest

from celosia.scripts.quickstart import _beside


def interrupt(futures, folder):
    with _beside() as (pool, processes):
        futures.append(pool.submit(processes.run, ["sleep", "60"], folder))
        while not futures[0].running():
            time.sleep(0.01)
        raise KeyboardInterrupt


def test_interrupt_stops_the_tools_beside(tmp_path):
    begin, futures = time.monotonic(), []
    with pytest.raises(KeyboardInterrupt):
        interrupt(futures, tmp_path)
    assert futures[0].done()
    assert time.monotonic() - begin < 30

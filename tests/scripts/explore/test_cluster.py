import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from celosia.models.errors import CelosiaError
from celosia.scripts.explore.cluster import Cluster, cluster_of


@pytest.fixture
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Processes:
    """A scheduler and a worker, as ``dask scheduler`` and ``dask worker`` start them."""

    def __init__(self, address, folder):
        self.address = address
        self.folder = folder
        self.running = []

    def start(self):
        port = self.address.rpartition(":")[2]
        common = {"cwd": self.folder, "stderr": subprocess.DEVNULL, "start_new_session": True}
        dask = [sys.executable, "-m", "dask"]
        scheduler = ["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
        worker = ["worker", self.address, "--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
        self.running = [subprocess.Popen([*dask, *tail], **common) for tail in (scheduler, worker)]

    def kill(self):
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def processes(address, tmp_path):
    made = Processes(address, tmp_path)
    yield made
    made.kill()


def test_a_killed_worker_of_a_local_cluster_costs_nothing_but_time(fakes, jobs, tmp_path):
    lives = tmp_path / "lives"
    lives.write_text("x")
    evaluate = fakes.Traced(tmp_path / "trace", fatal="4", lives=lives)
    with cluster_of("local", evaluate, 2) as cluster:
        found = list(cluster.outcomes(jobs))
    assert not lives.read_text()
    assert {i: o.cycles for i, o in found} == {i: 1000 + i for i in range(len(jobs))}
    assert len(found) == len(jobs)


def test_a_restarted_scheduler_is_found_again(fakes, jobs, tmp_path, address, processes):
    processes.start()
    evaluate = fakes.Traced(tmp_path / "trace", seconds=0.05)
    with Cluster(evaluate, address, beginning=60) as cluster:
        found = []
        for position, outcome in cluster.outcomes(jobs):
            found.append(position)
            assert outcome.cycles == 1000 + position
            if len(found) == 3:
                processes.kill()
                processes.start()
    assert sorted(found) == list(range(len(jobs)))
    keys, pids = fakes.traced(tmp_path / "trace")
    assert len(pids) == 2
    assert set(keys) == {job.key for job in jobs}


def test_errors_of_an_evaluation_arrive(fakes, jobs, tmp_path, address, processes):
    processes.start()
    evaluate = fakes.Traced(tmp_path / "trace", broken="3")
    with (
        Cluster(evaluate, address, beginning=60) as cluster,
        pytest.raises(CelosiaError, match="broken"),
    ):
        list(cluster.outcomes(jobs))


def test_an_address_without_a_scheduler_is_refused(address):
    with pytest.raises(CelosiaError, match="no Dask scheduler with workers answers"):
        Cluster(print, address, beginning=0.1)


def test_an_address_that_is_none_is_refused():
    with pytest.raises(CelosiaError, match="no Dask scheduler"):
        Cluster(print, "nonsense://x:y", beginning=0.1)

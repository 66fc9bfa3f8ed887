"""A search whose process is ended in the middle goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from celosia.models.formats import parse_format
from celosia.models.random_network import random_network
from celosia.models.storage import save
from celosia.scripts.explore.store import SqlStore, sqlite_url

COMMAND = [sys.executable, "-c", "from celosia.scripts.cli import main; main()", "explore"]
PATIENCE = 300


@contextmanager
def start(network, out, *arguments):
    """A search in a session of its own, of which nothing is left when the block ends."""
    command = [*COMMAND, str(network), "--workers=2", "-o", str(out), "--json", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(process, out, count):
    """Wait until the store of ``out``, which ``process`` fills, has ``count`` outcomes or more."""
    path = out / "explore.sqlite"
    begin = time.monotonic()
    while process.poll() is None and time.monotonic() - begin < PATIENCE:
        if path.exists():
            with SqlStore(sqlite_url(path)) as store:
                if len(store) >= count:
                    return
        time.sleep(0.05)
    raise AssertionError(f"the search stored too little, and is at {process.poll()}")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_what_was_evaluated_stays(tmp_path, how):
    network, out = tmp_path / "small.celosia", tmp_path / "out"
    save(random_network(3, (parse_format("fixed4"),)), network)
    with start(network, out, "--candidates=100000") as process:
        wait_for(process, out, 3)
        if how == signal.SIGKILL:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        _, said = process.communicate(timeout=PATIENCE)
    if how != signal.SIGKILL:
        assert process.returncode == 128 + how
        assert b"Traceback" not in said
    assert {path.name for path in out.iterdir()} <= {"explore.sqlite", "explore.sqlite-journal"}
    with SqlStore(sqlite_url(out / "explore.sqlite")) as store:
        kept = len(store)
    assert kept >= 3
    with start(network, out, f"--candidates={8 + kept}") as again:
        answer, said = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said
    search = json.loads(answer)["search"]
    assert search["from_store"] == kept
    with SqlStore(sqlite_url(out / "explore.sqlite")) as store:
        assert len(store) == kept + search["evaluated"]

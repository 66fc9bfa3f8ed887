"""Child processes: what they say, how they fail, and that none is left."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from celosia.models.errors import CelosiaError
from celosia.models.processes import Processes, StoppedError


def ends(pid: str) -> bool:
    """Whether process ``pid`` is gone within some seconds."""
    for _ in range(100):
        state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)
        if not state.stdout.strip() or state.stdout.startswith("Z"):
            return True
        time.sleep(0.05)
    return False


def test_failing_command_shows_its_output(tmp_path: Path) -> None:
    with pytest.raises(CelosiaError, match=r"sh failed with status 3; .*:\nwhy it failed"):
        Processes().run(["sh", "-c", "echo why it failed; exit 3"], tmp_path)


def test_how_a_command_ended_is_returned(tmp_path: Path) -> None:
    done = Processes().complete(["sh", "-c", "echo one; echo two >&2; exit 3"], tmp_path)
    assert (done.returncode, done.stdout) == (3, "one\ntwo\n")


def test_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Processes().run(["no-such-program"], tmp_path)


def test_temporary_files_lie_where_the_command_runs(tmp_path: Path) -> None:
    """So that what a killed compiler leaves is removed with the draft of its build."""
    inside = Processes().complete(["sh", "-c", 'echo "$TMPDIR"'], tmp_path)
    given = Processes().complete(["sh", "-c", 'echo "$TMPDIR $X"'], tmp_path, {"X": "y"})
    assert inside.stdout == f"{tmp_path}\n"
    assert given.stdout == f"{tmp_path} y\n"


@pytest.mark.parametrize("failing_first", [True, False])
def test_one_failure_stops_the_others(tmp_path: Path, failing_first: bool) -> None:
    begin = time.monotonic()
    commands = [["false"], ["sleep", "60"]]
    with pytest.raises(CelosiaError, match="status 1"):
        Processes().run_all(
            commands if failing_first else commands[::-1], tmp_path, lambda done: None
        )
    assert time.monotonic() - begin < 30


def test_done_is_counted(tmp_path: Path) -> None:
    seen: list[int] = []
    Processes().run_all([["true"], ["true"]], tmp_path, seen.append)
    assert seen == [0, 1, 2]


def test_ctrl_c_ends_the_children(tmp_path: Path) -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    pid_file = tmp_path / "pid"
    with pytest.raises(KeyboardInterrupt):
        Processes().run(["sh", "-c", f"sleep 61 & echo $! > {pid_file}; wait"], tmp_path)
    pid = pid_file.read_text().strip()
    assert ends(pid), f"process {pid} is still there"


def test_stop_from_another_thread(tmp_path: Path) -> None:
    processes = Processes()
    threading.Timer(0.3, processes.stop).start()
    begin = time.monotonic()
    with pytest.raises(StoppedError):
        processes.run(["sleep", "60"], tmp_path)
    assert time.monotonic() - begin < 30
    with pytest.raises(StoppedError):
        processes.run(["touch", "begun"], tmp_path)
    assert not (tmp_path / "begun").exists()

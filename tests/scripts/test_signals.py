"""Signals that ask the command to end, at work on a real process."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from celosia.scripts import cli
from celosia.scripts.signals import Stop

BUILD = """
from celosia.models.processes import Processes
from celosia.scripts import cli
from celosia.sim.cache import cached
import celosia.rtl.package as package

def fill(draft):
    (draft / "half").write_text("half")
    Processes().run(["sh", "-c", "sleep 61 & echo $! > ../../pid; wait"], draft)

package.package_files = lambda _: cached("key", fill)
cli.main(["generate", "tiny", "-o", "out"])
"""


def begin(folder: Path, prepare=None) -> tuple[subprocess.Popen[str], str]:
    """Start a command that builds; return it, and the process of its child's child."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD],
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "CELOSIA_CACHE": str(folder)},
        preexec_fn=prepare,
    )
    note = folder / "pid"
    for _ in range(2400):
        if note.exists() and note.read_text().endswith("\n"):
            return process, note.read_text().strip()
        time.sleep(0.05)
    process.kill()
    raise AssertionError("the child was never begun")


def is_gone(pid: str) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True)
    return not state.stdout.strip() or state.stdout.startswith("Z")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGTERM, "stopped by SIGTERM: what was half written is removed"),
        (signal.SIGHUP, "stopped by SIGHUP: what was half written is removed"),
        (signal.SIGINT, "interrupted: what was half written is removed"),
    ],
)
def test_signal_leaves_nothing(tmp_path, number, message):
    process, child = begin(tmp_path)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert said.split() == message.split()
    assert is_gone(child)
    assert [path.name for path in (tmp_path / "builds").iterdir() if path.is_dir()] == []
    assert not (tmp_path / "out").exists()


def test_hang_up_that_is_ignored_stays_so(tmp_path):
    """As ``nohup`` asks."""
    process, child = begin(tmp_path, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    assert not is_gone(child)
    process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM


def test_signal_that_compiled_code_loses(monkeypatch, capsys):
    """Callbacks of compiled code swallow an interrupt; what fails of that is no error."""

    def lost(*_, **__):
        with suppress(KeyboardInterrupt):
            stop._handle(signal.SIGTERM, None)
        raise RuntimeError("no compiled object yet")

    monkeypatch.setattr(cli, "app", lost)
    stop = Stop()
    assert cli.run_command([], stop) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in capsys.readouterr().err
    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(RuntimeError, match="a fault"):
        cli.run_command([], Stop())


def broken(*_, **__):
    raise RuntimeError("a fault")


def test_second_signal_does_not_stop_the_tidying():
    stop = Stop()
    assert (stop.stopped, stop.status, stop.reason) == (False, 130, "interrupted")
    with pytest.raises(KeyboardInterrupt):
        stop._handle(signal.SIGTERM, None)
    stop._handle(signal.SIGHUP, None)
    assert (stop.stopped, stop.status, stop.reason) == (True, 143, "stopped by SIGTERM")

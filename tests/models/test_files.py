"""Files are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from celosia.models.files import (
    MANIFEST,
    advice,
    atomic_directory,
    atomic_file,
    check_writable,
    make_folder,
)


def names(path: Path) -> set[str]:
    return {str(f.relative_to(path)) for f in path.rglob("*") if f.is_file()}


def write_half(writer, name, error):
    with writer as draft:
        (draft / name).write_text("half")
        raise error


def test_file_is_written_and_folder_made(tmp_path):
    with atomic_file(tmp_path / "new" / "a.txt") as draft:
        assert draft.suffix == ".txt"
        draft.write_text("hello")
    assert (tmp_path / "new" / "a.txt").read_text() == "hello"
    assert names(tmp_path) == {"new/a.txt"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_failed_file_leaves_the_old_one(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(type(error)):
        write_half(atomic_file(tmp_path / "a.txt"), "", error)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_directory_is_written_and_written_again(tmp_path):
    target = tmp_path / "out"
    with atomic_directory(target) as draft:
        (draft / "a.v").write_text("1")
        (draft / "sub").mkdir()
        (draft / "sub" / "b.v").write_text("2")
    assert names(target) == {"a.v", "sub/b.v", MANIFEST}
    (target / "mine.txt").write_text("kept")
    with atomic_directory(target) as draft:
        (draft / "a.v").write_text("3")
    assert names(target) == {"a.v", "mine.txt", MANIFEST}
    assert (target / "a.v").read_text() == "3"
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


def write(directory, *files):
    with directory as draft:
        for name in files:
            (draft / name).write_text("theirs")


def test_files_of_others_are_not_written_over(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "b.v").write_text("mine")
    with pytest.raises(OSError, match="not of an earlier run") as caught:
        write(atomic_directory(target), "a.v", "b.v")
    assert caught.value.filename == str(target / "b.v")
    assert names(target) == {"b.v"}
    assert (target / "b.v").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("existing", [False, True])
def test_failed_directory_leaves_nothing(tmp_path, error, existing):
    target = tmp_path / "out"
    if existing:
        target.mkdir()
        (target / "a.v").write_text("old")
    with pytest.raises(type(error)):
        write_half(atomic_directory(target), "a.v", error)
    assert names(tmp_path) == ({"out/a.v"} if existing else set())


def test_manifest_cannot_remove_files_elsewhere(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (tmp_path / "precious").write_text("x")
    (target / MANIFEST).write_text("../precious\n")
    with atomic_directory(target) as draft:
        (draft / "a.v").write_text("1")
    assert (tmp_path / "precious").exists()


def test_devices_and_directories_are_not_replaced(tmp_path):
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    for target, message in ((pipe, "a device or a pipe"), (folder, "Is a directory")):
        with pytest.raises(OSError, match=message) as caught, atomic_file(target):
            pytest.fail("nothing may be made first")
        assert caught.value.filename == str(target)
    assert pipe.is_fifo()
    assert sorted(tmp_path.iterdir()) == [folder, pipe]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("old")
    for writer in (
        atomic_file(tmp_path / "a" / "b"),
        atomic_directory(tmp_path / "a" / "b"),
        atomic_directory(tmp_path / "a"),
    ):
        with pytest.raises(NotADirectoryError) as caught, writer:
            pytest.fail("nothing may be made first")
        assert caught.value.filename == str(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "old"


def test_errors_name_what_was_asked_for(tmp_path):
    full = OSError(errno.ENOSPC, "No space left")
    for writer, name in (
        (atomic_file(tmp_path / "a"), ""),
        (atomic_directory(tmp_path / "a"), "b"),
    ):
        with pytest.raises(OSError, match="No space left") as caught:
            write_half(writer, name, full)
        assert caught.value.filename == str(tmp_path / "a")
    for writer in (atomic_file(tmp_path / "a"), atomic_directory(tmp_path / "a")):
        with pytest.raises(FileNotFoundError) as caught, writer:
            (tmp_path / "elsewhere").read_text()
        assert caught.value.filename == str(tmp_path / "elsewhere")


def test_nothing_is_made_beside_a_directory_that_is_there(tmp_path):
    """It may be a file system of its own: nothing can be renamed from outside into it."""
    target = tmp_path / "mounted"
    target.mkdir()
    with atomic_directory(target) as draft:
        assert draft.is_relative_to(target)
        (draft / "a.v").write_text("1")
    assert names(target) == {"a.v", MANIFEST}
    assert sorted(f.name for f in target.iterdir()) == [MANIFEST, "a.v"]


def test_place_is_tried_without_a_trace(tmp_path):
    (tmp_path / "file").write_text("old")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "folder" / "file")
    assert names(tmp_path) == {"file"}
    assert not (tmp_path / "new").exists()
    for place in (tmp_path, tmp_path / "file" / "new", Path(os.devnull)):
        with pytest.raises(OSError, match=r"Is a directory|Not a directory|a device or a pipe"):
            check_writable(place)


def test_folders_where_a_file_lies_are_refused(tmp_path):
    make_folder(tmp_path / "new" / "folder")
    make_folder(tmp_path / "new" / "folder")
    assert names(tmp_path) == set()
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="Not a directory"):
        make_folder(tmp_path / "file")


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.ENOSPC, "free some space"), (errno.EACCES, "you may write to"), (errno.EEXIST, "")],
)
def test_advice_fits_the_error(number, text):
    said = advice(OSError(number, "x"))
    assert text in said
    assert bool(said) == bool(text)

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.program import Program
from celosia.dataflow.program_file import load_program, save_program
from celosia.models.errors import CelosiaError
from celosia.models.random_network import random_network

from .builders import ACCELERATORS, FORMATS


@pytest.fixture(scope="module")
def program() -> Program:
    return compile_network(random_network(4, FORMATS), ACCELERATORS["24x12x3"])


@pytest.fixture
def path(program: Program, tmp_path: Path) -> Path:
    save_program(program, tmp_path / "p.npz")
    return tmp_path / "p.npz"


def test_programs_come_back(program: Program, path: Path) -> None:
    other = load_program(path)
    for name in ("network", "accelerator", "descriptors", "layers", "inputs", "outputs", "window"):
        assert getattr(other, name) == getattr(program, name)
    assert other.program_address == program.program_address
    np.testing.assert_array_equal(other.image, program.image)
    memory = np.random.default_rng(0).integers(0, 256, program.memory_size, dtype=np.uint8)
    assert len(other.placements) == len(program.placements)
    for placement in program.placements:
        again = other.placement(placement.name)
        np.testing.assert_array_equal(again.read(memory), placement.read(memory))
        assert again.border == placement.border
        assert again.unfold == placement.unfold


def test_the_same_program_gives_the_same_bytes(program: Program, path: Path) -> None:
    before = path.read_bytes()
    save_program(program, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["p.npz"]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_wrong(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CelosiaError, match="is no program file or is damaged"):
        load_program(path)


@pytest.mark.parametrize("seed", range(20))
def test_corrupt_wrong(path: Path, seed: int) -> None:
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    # Inside an array: names and dates in a zip's headers may change unnoticed.
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.compress_size)
    header = largest.header_offset
    lengths = (int.from_bytes(data[header + n : header + n + 2], "little") for n in (26, 28))
    start = header + 30 + sum(lengths)
    at = int(random.integers(start, start + largest.compress_size))
    data[at] ^= 1 << int(random.integers(8))
    path.write_bytes(bytes(data))
    with pytest.raises(CelosiaError, match="damaged"):
        load_program(path)


def test_missing_wrong(tmp_path: Path) -> None:
    with pytest.raises(CelosiaError, match="cannot read program file"):
        load_program(tmp_path / "none.npz")


def test_other_npz_wrong(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros(3))
    with pytest.raises(CelosiaError, match="is no program file or is damaged"):
        load_program(tmp_path / "x.npz")


def test_unwritable_wrong(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CelosiaError, match="cannot write program file"):
        save_program(program, tmp_path / "file" / "p.npz")


def test_unknown_placement_wrong(program: Program) -> None:
    with pytest.raises(KeyError):
        program.placement("none")


def rewrite(path: Path, change: dict[str, bytes], flag: int = 0) -> None:
    """Write the archive again with members replaced and their general flags set."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | change).items():
            archive.writestr(name, data)
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= flag
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("content", "flag"),
    [
        (b"\x93NUMPY\x01\x00\x03\x00(((", 0),
        (b"\x93NUMPY\x01\x00\x02\x00", 0),
        (b"", 0),
        (b"what", 1),
        (b"what", 32),
    ],
)
def test_members_wrong(path: Path, content: bytes, flag: int) -> None:
    """Headers that do not end, members that claim to be encrypted or patched."""
    rewrite(path, {"document.npy": content}, flag)
    with pytest.raises(CelosiaError, match="is no program file or is damaged"):
        load_program(path)


def test_plain_array_wrong(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(CelosiaError, match="is no program file or is damaged"):
        load_program(tmp_path / "x.npy")


@pytest.mark.parametrize("text", [b"[" * 100_000, b"[]", b'{"version": 1}', b"3", b"{"])
def test_documents_wrong(path: Path, text: bytes) -> None:
    """The checksum is right, what it is of is no program."""
    image = np.zeros(3, np.uint8)
    digest = hashlib.sha256(len(text).to_bytes(8, "little") + text + image.tobytes()).digest()
    document, check = np.frombuffer(text, np.uint8), np.frombuffer(digest, np.uint8)
    np.savez(path, document=document, image=image, sha256=check)
    with pytest.raises(CelosiaError, match="cannot be used"):
        load_program(path)

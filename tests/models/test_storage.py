"""Files: lossless, deterministic, and refused when anything in them was changed."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed, Pot, Sp2
from celosia.models.golden import evaluate
from celosia.models.network import Network
from celosia.models.operations import DISTANCE, MULTIPLY, shift
from celosia.models.random_network import random_inputs, random_network
from celosia.models.storage import fingerprint, load, save

FORMATS = (Sp2(bits=4), Fixed(bits=4), Fixed(bits=8), Sp2(bits=8), Fixed(bits=2))


OPERATIONS = (MULTIPLY, DISTANCE, shift(2))


def sample(seed: int = 3) -> Network:
    formats = (*FORMATS, Pot(bits=4)) if seed % 2 else FORMATS
    return random_network(seed, formats, operations=OPERATIONS if seed % 2 else (MULTIPLY,))


@pytest.mark.parametrize("seed", range(6))
def test_round_trip(seed: int, tmp_path: Path) -> None:
    network = sample(seed)
    path = tmp_path / "net.celosia"
    save(network, path)
    back = load(path)
    assert fingerprint(back) == fingerprint(network)
    codes = random_inputs(network, 2, seed)
    first, second = evaluate(network, codes), evaluate(back, codes)
    assert all((first[name] == second[name]).all() for name in first)
    assert [t.scale for t in back.tensors] == [t.scale for t in network.tensors]
    assert [path.name] == os.listdir(tmp_path)


def test_same_network_same_bytes(tmp_path: Path) -> None:
    save(sample(), tmp_path / "a")
    save(sample(), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_fingerprints_differ() -> None:
    assert len({fingerprint(sample(seed)) for seed in range(10)}) == 10


def test_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net"
    save(sample(), path)
    data = path.read_bytes()
    for length in (0, 1, 10, len(data) // 2, len(data) - 30, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CelosiaError, match="not a usable network file"):
            load(path)


def test_any_changed_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    """A flipped bit gives an error in words, or the very same network (unused zip fields)."""
    network = sample()
    path = tmp_path / "net"
    save(network, path)
    data = path.read_bytes()
    random = np.random.default_rng(5)
    refused = 0
    for place in random.integers(0, len(data), 150):
        changed = bytearray(data)
        changed[place] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        try:
            assert fingerprint(load(path)) == fingerprint(network)
        except CelosiaError:
            refused += 1
    assert refused > 100


def rewrite(path: Path, change: dict[str, bytes | None]) -> None:
    """Write the archive again with members replaced, added, or left out (None)."""
    with zipfile.ZipFile(path) as archive:
        members: dict[str, bytes | None] = {n: archive.read(n) for n in archive.namelist()}
    members.update(change)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)


def document(path: Path) -> dict[str, object]:
    with zipfile.ZipFile(path) as archive:
        result: dict[str, object] = json.loads(archive.read("network.json"))
    return result


def test_other_contents_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net"
    good = sample()
    save(good, path)
    entry = document(path)
    evil = io.BytesIO()
    np.save(evil, np.array([print], dtype=object), allow_pickle=True)
    cases: list[tuple[dict[str, bytes | None], str]] = [
        ({"network.json": None}, "no network.json"),
        ({"network.json": b"{}"}, "no celosia network"),
        ({"network.json": b"[1"}, "not a usable"),
        ({"network.json": json.dumps({**entry, "version": 99}).encode()}, "version 99"),
        ({"network.json": json.dumps({**entry, "name": "other"}).encode()}, "checksum"),
        ({"0.weights.npy": None}, "checksum"),
        ({"0.weights.npy": evil.getvalue()}, "not a usable"),
        ({"0.weights.npy": pickle.dumps(print)}, "not a usable"),
        ({"extra.npy": b"what"}, "not a usable"),
        ({"extra.npy": b"\x93NUMPY\x01\x00\x03\x00((("}, "not a usable"),
        ({"network.json": b"[" * 100_000}, "not a usable"),
    ]
    for change, message in cases:
        save(good, path)
        rewrite(path, change)
        with pytest.raises(CelosiaError, match=message):
            load(path)


def test_illegal_network_with_right_checksum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net"
    save(sample(), path)
    entry = document(path)
    entry["outputs"] = ["nothing"]
    rewrite(path, {"network.json": json.dumps(entry).encode()})
    monkeypatch.setattr("celosia.models.storage._digest", lambda *_: entry["sha256"])
    with pytest.raises(CelosiaError, match="no tensor is called 'nothing'"):
        load(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CelosiaError, match="cannot read"):
        load(tmp_path / "nothing")
    with pytest.raises(CelosiaError, match="cannot read"):
        load(tmp_path)


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net"
    save(sample(1), path)

    def full(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CelosiaError, match=r"cannot write .*No space left.*; free some space"):
        save(sample(2), path)
    assert os.listdir(tmp_path) == ["net"]
    assert fingerprint(load(path)) == fingerprint(sample(1))


def test_device_is_refused_without_talk_of_folders() -> None:
    with pytest.raises(CelosiaError, match=r"it is a device or a pipe, not a file$"):
        save(sample(2), os.devnull)


def test_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Path, data: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(sample(), tmp_path / "net")
    assert os.listdir(tmp_path) == []

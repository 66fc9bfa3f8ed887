"""Deployments: moved in memory, and in files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.archive import load_archive, save_archive
from celosia.dataflow.compile import compile_network
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.presets import TINY as EIE
from celosia.dataflow.presets import preset
from celosia.dataflow.program import BaseProgram
from celosia.fpga.deploy import deploy
from celosia.fpga.driver import Deployment
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Fixed
from celosia.models.network import Network, SparseLinear, Tensor
from celosia.models.random_network import random_network
from celosia.models.sparse import SparseMatrix

WEIGHTS = Codebook.of((3, -5, 7), 4)
HERE, THERE = 0x1000_0000, 0x7_6543_2000


def dense(seed: int, base: int) -> BaseProgram:
    tiny = preset("tiny")
    formats = tuple(group.format for group in tiny.array.columns)
    return compile_network(random_network(seed, formats), tiny, base_address=base)


def eie(seed: int, base: int) -> BaseProgram:
    dense = np.random.default_rng(seed).choice(WEIGHTS.values, (9, 20))
    code = Fixed(bits=8, signed=False)
    network = Network(
        name="sparse",
        tensors=tuple(
            Tensor(name=name, shape=(size, 1, 1), format=code, scale=1.0)
            for name, size in (("x", 20), ("y", 9))
        ),
        inputs=("x",),
        outputs=("y",),
        ops=(
            SparseLinear(
                name="fc",
                input="x",
                output="y",
                matrix=SparseMatrix.from_dense(dense),
                format=WEIGHTS,
                bias=np.arange(9),
                shift=3,
                low=0,
                high=code.high,
            ),
        ),
    )
    return compile_eie(network, EIE, base)


@pytest.mark.parametrize("engine", [dense, eie])
@pytest.mark.parametrize("seed", [2, 5])
def test_moving_is_compiling_for_another_place(engine, seed: int) -> None:
    here, there = deploy(engine(seed, HERE)), deploy(engine(seed, THERE))
    for moved, expected in ((here.at(THERE), there), (there.at(HERE), here)):
        assert np.array_equal(moved.image, expected.image)
        assert not np.array_equal(moved.image, (here if expected is there else there).image)
        assert moved.program_address == expected.program_address
        assert moved.stamps == expected.stamps
        assert moved.window == expected.window
        for name in expected.inputs + expected.outputs:
            assert moved.placement(name).span == expected.placement(name).span
            assert moved.placement(name).base == expected.base


@pytest.fixture
def deployment() -> Deployment:
    return deploy(dense(2, HERE))


def test_files(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    deployment.save(path)
    again = Deployment.load(path)
    before = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == before
    assert again.fingerprint == deployment.fingerprint
    assert np.array_equal(again.at(THERE).image, deployment.at(THERE).image)
    path.write_bytes(before[:-30])
    with pytest.raises(CelosiaError, match="is no deployment file or is damaged"):
        Deployment.load(path)
    with pytest.raises(CelosiaError, match="cannot read deployment file"):
        Deployment.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("old", "new"), [(b'"form":1', b'"form":2'), (b'"network"', b'"netwerk"'), (b"[", b"{")]
)
def test_files_of_another_kind(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes
) -> None:
    deployment.save(tmp_path / "p.npz")
    text, image = load_archive(tmp_path / "p.npz", "file")
    changed = text.replace(old, new)
    monkeypatch.setattr(
        "celosia.fpga.driver.deployment.load_archive", lambda *_arguments: (changed, image)
    )
    with pytest.raises(CelosiaError, match=r"deployment file p.npz cannot be used"):
        Deployment.load("p.npz")


def test_programs_are_no_deployments(tmp_path: Path) -> None:
    save_archive(tmp_path / "p.npz", {"network": "x"}, np.zeros(4, np.uint8), "program file")
    with pytest.raises(CelosiaError, match="cannot be used"):
        Deployment.load(tmp_path / "p.npz")


def test_places_that_are_none(deployment: Deployment) -> None:
    with pytest.raises(CelosiaError, match=r"at address 0xfffffff000: .* 40 address bits"):
        deployment.at((1 << 40) - 4096)
    with pytest.raises(ValueError, match=r"^base must be a multiple of 4096, not 100$"):
        deployment.at(100)
    with pytest.raises(KeyError):
        deployment.placement("nothing")
    with pytest.raises(ValueError, match=r"^placements must have more$"):
        replace(deployment, outputs=("more",))
    with pytest.raises(TypeError, match="image must be one-dimensional uint8"):
        replace(deployment, image=np.zeros(3))
    with pytest.raises(TypeError, match="relocations must be int64"):
        replace(deployment, relocations=np.zeros(3, np.int64))

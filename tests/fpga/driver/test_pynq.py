"""The driver on PYNQ, against a stand-in for its overlay, MMIO, buffers and interrupts."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from celosia.fpga.driver import Accelerator, EngineTimeoutError, PynqTransport
from celosia.models.errors import CelosiaError, MissingToolError

from .boards import PHYSICAL, pynq
from .engines import case, user_script


@pytest.fixture
def bitstream(tmp_path: Path) -> Path:
    for suffix in (".bit", ".hwh"):
        (tmp_path / f"system{suffix}").write_bytes(b"")
    return tmp_path / "system.bit"


@pytest.mark.parametrize("interrupts", [True, False])
@pytest.mark.parametrize("buffers", [1, 2])
def test_users_script(
    bitstream: Path, monkeypatch: pytest.MonkeyPatch, interrupts: bool, buffers: int
) -> None:
    module = pynq(interrupts=interrupts)
    monkeypatch.setitem(sys.modules, "pynq", module)
    transport = PynqTransport(bitstream)
    assert module.overlays == [str(bitstream)]
    user_script(transport, case(), buffers=buffers)
    assert module.freed == [buffers * case().deployment.room]
    if interrupts:
        assert transport._core.interrupt.awaited >= 4


def test_memory_lies_where_it_was_allocated(
    bitstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynq", module := pynq(interrupts=False))
    with Accelerator(PynqTransport(bitstream)) as engine:
        engine.load(case().deployment)
        assert engine.deployment.base == PHYSICAL
        engine.load(case().deployment)
        assert len(module.freed) == 1
    engine.close()
    assert len(module.freed) == 2


def test_time_is_up_and_the_next_run(bitstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynq", module := pynq())
    with Accelerator(PynqTransport(bitstream), seconds=0.05) as engine:
        engine.load(case().deployment)
        model = module.engine.model
        model._calls.celosia_start_memory(model._handle, 1 << 40, 8, 8)
        with pytest.raises(EngineTimeoutError, match="the bus seems stuck"):
            engine.run(case().inputs)
        model.reset()
        model._calls.celosia_start_memory(model._handle, 1, 8, 8)
        engine._seconds = 60
        assert case().is_right(engine.run(case().inputs))


def test_in_a_notebook_the_status_is_polled(
    bitstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynq", pynq())

    async def cell() -> None:
        user_script(PynqTransport(bitstream), case())

    asyncio.run(cell())


def test_what_is_missing(bitstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(MissingToolError, match="pynq is not installed"):
        PynqTransport(bitstream)
    monkeypatch.setitem(sys.modules, "pynq", pynq(core="other", room=4096))
    with pytest.raises(CelosiaError, match="has no core called 'engine'; it has other"):
        PynqTransport(bitstream)
    transport = PynqTransport(bitstream, name="other")
    with pytest.raises(CelosiaError, match="no memory is placed for the engine"):
        transport.read_memory(0, 4)
    with Accelerator(transport) as engine, pytest.raises(CelosiaError, match="cannot allocate"):
        engine.load(case().deployment)
    bitstream.with_suffix(".hwh").unlink()
    with pytest.raises(CelosiaError, match=r"there is no .*system\.hwh: PYNQ needs"):
        PynqTransport(bitstream)

"""The driver without PYNQ, against files in the place of Linux's devices."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from celosia.fpga.driver import Accelerator, PhysicalMemory, UioTransport
from celosia.fpga.driver.uio import UioInterrupt
from celosia.models.errors import CelosiaError

from .boards import Mapped
from .engines import case, user_script

REGISTERS, MEMORY, SIZE = 0x4000, 0x10_0000, 0x4_0000
PHYSICAL = 0x7000_0000


def file_of(path: Path, size: int) -> np.ndarray:
    path.write_bytes(b"")
    os.truncate(path, size)
    return np.memmap(path, np.uint8, "r+")


def in_step(transport: UioTransport) -> UioTransport:
    """Let a command return when it is taken, as on a bus: a thread that looks at a file is late."""
    write = transport.write_register

    def write_and_wait(offset: int, value: int) -> None:
        write(offset, value)
        while transport.read_register(Mapped.CONTROL):
            time.sleep(0.0002)

    transport.write_register = write_and_wait  # type: ignore[method-assign]
    return transport


@pytest.fixture
def memory_device(tmp_path: Path) -> Iterator[Path]:
    held = file_of(tmp_path / "mem", MEMORY + SIZE)
    engine = Mapped(
        np.asarray(held[REGISTERS : REGISTERS + 4096]), np.asarray(held[MEMORY:]), MEMORY
    )
    engine.start()
    yield tmp_path / "mem"
    engine.over.set()
    engine.join()


def test_physical_memory(memory_device: Path) -> None:
    transport = UioTransport.open_mem(REGISTERS, MEMORY, SIZE, device=memory_device)
    user_script(in_step(transport), case(), buffers=2)
    transport.close()


def test_uio_and_udmabuf(tmp_path: Path) -> None:
    registers = np.asarray(file_of(tmp_path / "uio0", 4096))
    memory = np.asarray(file_of(tmp_path / "udmabuf0", SIZE))
    facts = tmp_path / "class" / "udmabuf0"
    with pytest.raises(CelosiaError, match="load the module u-dma-buf"):
        UioTransport.open_uio(classes=tmp_path / "class")
    facts.mkdir(parents=True)
    (facts / "phys_addr").write_text(f"{PHYSICAL:#x}\n")
    (facts / "size").write_text(f"{SIZE}\n")
    engine = Mapped(registers, memory, PHYSICAL)
    engine.start()
    where = {"classes": tmp_path / "class", "interrupt": False}
    transport = UioTransport.open_uio(tmp_path / "uio0", tmp_path / "udmabuf0", **where)
    user_script(in_step(transport), case())
    engine.over.set()
    engine.join()
    (tmp_path / "udmabuf0").unlink()
    with pytest.raises(CelosiaError, match=r"cannot open .*/udmabuf0 .*check the name"):
        UioTransport.open_uio(tmp_path / "uio0", tmp_path / "udmabuf0", **where)


def test_interrupt() -> None:
    """A UIO device is unmasked by a 1, and gives a count when its interrupt comes."""
    ours, kernel = socket.socketpair()
    with ours, kernel:
        interrupt = UioInterrupt(ours.fileno())
        assert not interrupt.wait(0)
        assert kernel.recv(8) == b"\1\0\0\0"
        kernel.send((7).to_bytes(4, "little"))
        assert interrupt.wait(1)
        assert not interrupt.wait(0)
        kernel.send((8).to_bytes(4, "little"))
        memory = PhysicalMemory(np.zeros(4096, np.uint8), 0)
        transport = UioTransport(np.zeros(4096, np.uint8), memory, interrupt)
        assert transport.wait(1)


def test_device_without_an_interrupt(tmp_path: Path) -> None:
    """The kernel refuses to unmask what is not there, as a file that is read refuses writes."""
    (tmp_path / "uio0").write_bytes(b"")
    descriptor = os.open(tmp_path / "uio0", os.O_RDONLY)
    with pytest.raises(CelosiaError, match=r"gives no interrupt \(Bad .*with interrupt=False"):
        UioInterrupt(descriptor).wait(1)
    os.close(descriptor)


def test_what_cannot_be_mapped(tmp_path: Path) -> None:
    file_of(tmp_path / "mem", 8192)
    with pytest.raises(CelosiaError, match="cannot map 0x1000 bytes at 0x100000"):
        UioTransport.open_mem(0x10_0000, 0, 4096, device=tmp_path / "mem")
    with pytest.raises(CelosiaError, match="at a multiple of 4096, not at 0x7001"):
        PhysicalMemory(np.zeros(8, np.uint8), 0x7001)
    transport = UioTransport.open_mem(0, 4096, 4096, device=tmp_path / "mem")
    with pytest.raises(CelosiaError, match="and 4,096 are reserved: reserve more"):
        transport.place(8192, ports=1, beat_bytes=8)
    transport.place(4096, ports=1, beat_bytes=8)
    with pytest.raises(CelosiaError, match="8 bytes at 0x1ffc are outside of the memory"):
        transport.read_memory(0x1FFC, 8)
    with Accelerator(transport) as engine, pytest.raises(CelosiaError, match="no engine answers"):
        engine.load(case().deployment)


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_stripes_lie_behind_each_other(ports: int) -> None:
    """Bytes of the engine's addresses lie where the engine's ports look for them."""
    rng, beat = np.random.default_rng(5), 16
    array = np.zeros(4096 * ports, np.uint8)
    flushed, seen = [], []
    memory = PhysicalMemory(
        array, 0x1_0000, flush=lambda *r: flushed.append(r), invalidate=lambda *r: seen.append(r)
    )
    base, bases = memory.place(array.size, ports=ports, beat_bytes=beat)
    mirror = np.zeros(array.size, np.uint8)
    for _ in range(40):
        start = int(rng.integers(0, array.size - 1))
        part = rng.integers(0, 256, int(rng.integers(1, min(300, array.size - start))), np.uint8)
        memory.write(base + start, part)
        mirror[start : start + part.size] = part
        first, stop = sorted(rng.integers(0, array.size, 2).tolist())
        assert np.array_equal(memory.read(base + first, stop - first), mirror[first:stop])
    part_bytes = beat // ports
    for address in rng.integers(0, array.size, 200).tolist():
        port = address % beat // part_bytes
        begin = bases[port] if ports > 1 else base
        there = begin + address // beat * part_bytes + address % part_bytes
        assert array[there - 0x1_0000] == mirror[address]
    assert len(flushed) == len(seen) == 40 * ports
    assert all(0 <= first <= stop <= array.size for first, stop in flushed + seen)

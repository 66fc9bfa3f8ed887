"""The driver in C: compiled without a warning, and run against the RTL."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import PRESETS, preset
from celosia.dataflow.timing import timing
from celosia.fpga.boards import BOARDS
from celosia.fpga.driver import Deployment
from celosia.fpga.vivado.package import folder_files
from celosia.rtl.core import core_registers
from celosia.rtl.registers import Cause, render_c_header
from celosia.sim.transport import BASE, NativeTransport

from .driver.boards import Mapped
from .driver.engines import case, simulator

SOURCES = Path(__file__).parents[2] / "fpga" / "c"
WARNINGS = ("-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wcast-qual", "-Werror", "-O2")
STRICT = ("-std=c99", *WARNINGS)
OK, NO_ENGINE, OTHER_VERSION, OTHER, BUSY, TIMEOUT, STOPPED, RESET, SYSTEM = range(9)


class Access(ctypes.Structure):
    READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32)
    WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
    WAIT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32)
    CLOCK = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)
    _fields_ = (
        ("read", READ),
        ("write", WRITE),
        ("wait", WAIT),
        ("context", ctypes.c_void_p),
        ("polls", ctypes.c_uint32),
        ("clock", CLOCK),
    )


class ProgramOf(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint64),
        ("chunks", ctypes.c_uint32),
        ("window_base", ctypes.c_uint64),
        ("window_limit", ctypes.c_uint64),
        ("stripes", ctypes.c_void_p),
    )

    @classmethod
    def of(cls, deployment: Deployment) -> ProgramOf:
        return cls(deployment.program_address, deployment.chunks, *deployment.window, None)


class Uio(ctypes.Structure):
    _fields_ = (
        ("access", Access),
        ("registers", ctypes.c_void_p),
        ("memory", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("files", ctypes.c_int * 2),
    )


def compiled(folder: Path, accelerator, *options: str) -> Path:
    """Compile the driver with the header of ``accelerator``."""
    (folder / "celosia_registers.h").write_text(render_c_header(core_registers(accelerator)))
    library, compiler = folder / "driver.so", shutil.which("gcc") or shutil.which("cc")
    sources = [str(SOURCES / name) for name in ("celosia.c", "celosia_uio.c")]
    command = [str(compiler), *STRICT, "-shared", "-fPIC", f"-I{folder}", f"-I{SOURCES}"]
    done = subprocess.run(
        [*command, *options, "-o", str(library), *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return library


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(compiled(tmp_path_factory.mktemp("c"), preset("tiny"))))
    for name in ("celosia_cause_text", "celosia_result_text"):
        getattr(loaded, name).restype = ctypes.c_char_p
    loaded.celosia_read_pair.restype = ctypes.c_uint64
    loaded.celosia_cause.restype = ctypes.c_uint32
    return loaded


class Bench:
    """The C driver with the RTL behind its accesses, and one sample in memory."""

    def __init__(self, driver: ctypes.CDLL, *, interrupts: bool) -> None:
        self.transport = NativeTransport(simulator())
        self.driver = driver
        self.deployment = case().deployment.at(BASE)
        self.transport.place(self.deployment.room, ports=1, beat_bytes=8)
        for name in self.deployment.inputs:
            self.deployment.placement(name).write(self.deployment.image, case().inputs[name][0])
        self.transport.write_memory(BASE, self.deployment.image)
        self.access = Access(
            Access.READ(lambda _, offset: self._read(offset)),
            Access.WRITE(lambda _, offset, value: self.transport.write_register(offset, value)),
            Access.WAIT(self._wait) if interrupts else Access.WAIT(),
            None,
            100,
            Access.CLOCK(),
        )
        self.program = ProgramOf.of(self.deployment)

    def _wait(self, _context: object, _milliseconds: int) -> None:
        self.transport.model.run(1000)

    def _read(self, offset: int) -> int:
        self.transport.model.run(20)  # software takes its time
        return self.transport.read_register(offset)

    def call(self, name: str, *arguments: object) -> int:
        return int(getattr(self.driver, f"celosia_{name}")(ctypes.byref(self.access), *arguments))

    def start(self) -> int:
        return self.call("start", ctypes.byref(self.program))

    def next_run_is_right(self) -> None:
        self.transport.write_memory(BASE, self.deployment.image)
        assert self.call("check") == OK
        assert self.start() == OK
        assert self.call("wait", 1000) == OK
        for name in self.deployment.outputs:
            placement = self.deployment.placement(name)
            after = self.transport.read_memory(BASE, self.deployment.image.size)
            assert np.array_equal(placement.read(after), case().golden[name][0])


@pytest.fixture(params=[True, False], ids=["interrupts", "polled"])
def bench(driver: ctypes.CDLL, request: pytest.FixtureRequest) -> Iterator[Bench]:
    bench = Bench(driver, interrupts=request.param)
    yield bench
    bench.transport.close()


def test_runs(bench: Bench) -> None:
    bench.next_run_is_right()
    bench.next_run_is_right()
    cycles = bench.call("read_pair", bench.deployment.registers["cycles_low"])
    assert cycles == timing(case().program, DDR4).cycles


def test_what_goes_wrong_and_the_next_run(bench: Bench) -> None:
    model = bench.transport.model
    address = bench.deployment.placement(case().program.inputs[0]).address
    model.inject(address)
    assert bench.start() == OK
    assert bench.call("wait", 1000) == STOPPED
    cause = bench.call("cause")
    assert cause == Cause.READ_RESPONSE
    assert bench.driver.celosia_cause_text(cause).decode() == Cause.READ_RESPONSE.words
    model.clear_faults()
    bench.next_run_is_right()
    assert bench.start() == OK
    assert bench.start() == BUSY
    assert bench.call("wait", 0) == TIMEOUT
    model.reset()
    assert bench.call("wait", 10) == RESET
    bench.next_run_is_right()
    model._calls.celosia_start_memory(model._handle, 1 << 40, 8, 8)
    assert bench.start() == OK
    assert bench.call("wait", 3) == TIMEOUT
    assert bench.call("clear", 3) == TIMEOUT
    model.reset()
    model.start_memory(DDR4)
    assert bench.call("clear", 3) == OK
    bench.next_run_is_right()


@pytest.mark.parametrize(
    ("register", "result"),
    [("magic", NO_ENGINE), ("version", OTHER_VERSION), ("fingerprint2", OTHER)],
)
def test_another_engine(bench: Bench, register: str, result: int) -> None:
    read, there = bench.transport.read_register, bench.deployment.registers[register]
    bench.transport.read_register = lambda o: read(o) ^ (o == there)  # type: ignore[method-assign]
    assert bench.call("check") == result


@pytest.mark.parametrize("begin", [0, 2**32 - 3])
def test_time_by_a_clock(bench: Bench, begin: int) -> None:
    """A hundred looks at the clock are a millisecond, whatever waits and reads take; it wraps."""
    now = itertools.count(100 * begin)
    bench.access.clock = Access.CLOCK(lambda _: next(now) // 100 % 2**32)
    bench.transport.model._calls.celosia_start_memory(bench.transport.model._handle, 1 << 40, 8, 8)
    assert bench.start() == OK
    assert bench.call("wait", 5) == TIMEOUT
    assert next(now) == 100 * (begin + 5) + 1
    bench.transport.model.reset()
    bench.transport.model.start_memory(DDR4)
    bench.next_run_is_right()


def test_every_result_and_cause_has_words(driver: ctypes.CDLL) -> None:
    texts = [driver.celosia_result_text(result).decode() for result in range(SYSTEM + 1)]
    assert len(set(texts)) == SYSTEM + 1
    assert "unknown" not in " ".join(texts)
    assert driver.celosia_result_text(SYSTEM + 1) == b"an unknown result"
    for cause in Cause:
        assert driver.celosia_cause_text(int(cause)).decode() == cause.words
    assert driver.celosia_cause_text(99) == b"an unknown cause"


def test_compiles_for_every_kind_of_engine(tmp_path: Path) -> None:
    for name in ("tiny", "dense4k"):
        compiled(tmp_path, PRESETS[name], "-O0")
    program = tmp_path / "mmio.c"
    program.write_text(
        '#include "celosia_mmio.h"\n'
        "int main(void) { static uint32_t words[1024];\n"
        "struct celosia_access access = celosia_mmio(words, 10);\n"
        "if (access.read(access.context, 4) != 0) return 1;\n"
        "return celosia_check(&access) != CELOSIA_NO_ENGINE; }\n"
    )
    sources = [str(program), str(SOURCES / "celosia.c"), f"-I{tmp_path}", f"-I{SOURCES}"]
    built = ["gcc", *STRICT, *sources, "-o", str(tmp_path / "mmio")]
    assert subprocess.run(built, check=False).returncode == 0
    assert subprocess.run([tmp_path / "mmio"], check=False).returncode == 0


def test_is_for_cpp_too(tmp_path: Path) -> None:
    """The headers in C++ without a warning, linked with the driver in C."""
    library = compiled(tmp_path, preset("tiny"))
    program = tmp_path / "user.cpp"
    program.write_text(
        '#include "celosia_mmio.h"\n#include "celosia_uio.h"\n#include "celosia_registers.h"\n'
        "int main() { static uint32_t words[1024]; celosia_uio device;\n"
        "celosia_access access = celosia_mmio(words, 10);\n"
        'if (celosia_uio_open(&device, "/no", "/no", 1, 0) != CELOSIA_SYSTEM) return 1;\n'
        "return celosia_check(&access) != CELOSIA_NO_ENGINE; }\n"
    )
    built = ["g++", "-std=c++11", *WARNINGS, f"-I{tmp_path}", f"-I{SOURCES}", str(program)]
    done = subprocess.run(
        [*built, str(library), "-o", str(tmp_path / "user")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert subprocess.run([tmp_path / "user"], check=False).returncode == 0


def test_package_brings_it_along() -> None:
    files = folder_files(preset("tiny"), BOARDS["zcu102"], 200.0)
    for source in SOURCES.glob("*.[ch]"):
        assert files[f"software/{source.name}"] == source.read_text()
    assert "software/celosia_registers.h" in files


def test_uio(driver: ctypes.CDLL, tmp_path: Path) -> None:
    """Files in the place of devices: the C code maps and polls, the RTL computes."""
    deployment = case().deployment.at(0x7000_0000)
    for name in deployment.inputs:
        deployment.placement(name).write(deployment.image, case().inputs[name][0])
    (tmp_path / "uio0").write_bytes(bytes(4096))
    (tmp_path / "udmabuf0").write_bytes(deployment.image.tobytes())
    registers = np.memmap(tmp_path / "uio0", np.uint8, "r+")
    memory = np.asarray(np.memmap(tmp_path / "udmabuf0", np.uint8, "r+"))
    device, size = Uio(), memory.size
    missing = driver.celosia_uio_open(ctypes.byref(device), b"/no/uio", b"/no/mem", size, 0)
    assert missing == SYSTEM
    engine = Mapped(np.asarray(registers), memory, deployment.base)
    names = [str(tmp_path / name).encode() for name in ("uio0", "udmabuf0")]
    assert driver.celosia_uio_open(ctypes.byref(device), *names, ctypes.c_size_t(size), 0) == OK
    engine.start()
    access = ctypes.byref(device.access)
    assert driver.celosia_check(access) == OK
    assert driver.celosia_start(access, ctypes.byref(ProgramOf.of(deployment))) == OK
    while registers[Mapped.CONTROL]:
        engine.over.wait(0.001)
    assert driver.celosia_wait(access, 10_000) == OK
    engine.over.set()
    engine.join()
    registers[Mapped.STATUS : Mapped.STATUS + 4] = (8, 0, 0, 0)  # busy, for ever
    began = time.monotonic()
    assert driver.celosia_wait(access, 50) == TIMEOUT
    assert time.monotonic() - began > 0.049
    driver.celosia_uio_close(ctypes.byref(device))
    for name in deployment.outputs:
        assert np.array_equal(deployment.placement(name).read(memory), case().golden[name][0])

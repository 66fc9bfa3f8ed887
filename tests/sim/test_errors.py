"""What goes wrong on the bus or in a program stops the engine cleanly, and it starts again."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import DESCRIPTOR_BYTES, Store
from celosia.dataflow.memory import DDR4, PRESETS, MemoryModel
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Program
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.random_network import random_network
from celosia.rtl.image import program_image
from celosia.rtl.registers import MAGIC, Cause
from celosia.sim.driver import CLEAR, Driver, EngineError
from celosia.sim.library import Outcome
from celosia.sim.run import Simulator

ACCELERATOR = preset("tiny")
NETWORK = random_network(2, tuple(group.format for group in ACCELERATOR.array.columns))
IDLE, DONE, ERROR, BUSY = 1, 2, 4, 8
LIMIT = 200_000


@dataclass
class Bench:
    """An engine with one sample in its memory."""

    program: Program
    driver: Driver
    image: np.ndarray
    fresh: np.ndarray
    golden: dict[str, np.ndarray]

    def go(self, memory: MemoryModel = DDR4) -> None:
        self.driver.configure(self.program)
        self.driver.model.start_memory(memory)
        self.driver.start()
        self.driver.wait(LIMIT)

    def restart_is_right(self) -> None:
        """Clear, run again, and compare everything."""
        model = self.driver.model
        model.clear_faults()
        self.driver.clear()
        for _ in range(200):
            if self.driver.read("status") == IDLE:
                break
        assert self.driver.read("status") == IDLE
        self.image[:] = self.fresh
        self.go()
        for name, codes in self.golden.items():
            assert np.array_equal(self.program.placement(name).read(self.image), codes[0]), name


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(ACCELERATOR)


@pytest.fixture
def bench(simulator: Simulator) -> Iterator[Bench]:
    program = compile_network(NETWORK, ACCELERATOR)
    rng = np.random.default_rng(11)
    tensors = [NETWORK.tensor(name) for name in NETWORK.inputs]
    inputs = {t.name: rng.integers(0, t.format.high + 1, (1, *t.shape)) for t in tensors}
    image = program_image(program)
    for name, codes in inputs.items():
        program.placement(name).write(image, codes[0])
    driver = simulator.driver()
    with driver.model as model:
        model.attach(image, program.base_address)
        yield Bench(program, driver, image, image.copy(), evaluate(NETWORK, inputs))


def test_identity(bench: Bench) -> None:
    assert bench.driver.read("magic") == MAGIC
    assert bench.driver.read("status") == IDLE


def test_counters_that_were_not_reset(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.go()
    assert bench.driver.counters()
    read = bench.driver.read
    monkeypatch.setattr(
        bench.driver, "read", lambda name: read(name) | (name == "cycles_high") << 31
    )
    with pytest.raises(CelosiaError, match=r"counter cycles holds 0x8.* was not reset"):
        bench.driver.counters()


def test_done_lowers_and_start_works_again(bench: Bench) -> None:
    bench.go()
    assert bench.driver.read("status") == DONE
    bench.image[:] = bench.fresh
    bench.go()
    bench.restart_is_right()


@pytest.mark.parametrize("memory", PRESETS.values(), ids=PRESETS)
def test_read_error_of_data(bench: Bench, memory: MemoryModel) -> None:
    address = bench.program.placement(NETWORK.inputs[0]).address
    bench.driver.model.inject(address)
    with pytest.raises(EngineError, match="read response") as caught:
        bench.go(memory)
    assert caught.value.cause is Cause.READ_RESPONSE
    assert caught.value.address <= address < caught.value.address + 4096
    assert bench.driver.read("status") == ERROR
    bench.restart_is_right()


def test_read_error_of_program(bench: Bench) -> None:
    bench.driver.model.inject(bench.program.program_address + 5 * DESCRIPTOR_BYTES)
    with pytest.raises(EngineError, match="read response"):
        bench.go()
    bench.restart_is_right()


@pytest.mark.parametrize("memory", PRESETS.values(), ids=PRESETS)
def test_write_error(bench: Bench, memory: MemoryModel) -> None:
    address = bench.program.placement(NETWORK.outputs[0]).address
    bench.driver.model.inject(address)
    with pytest.raises(EngineError, match="write response") as caught:
        bench.go(memory)
    assert caught.value.cause is Cause.WRITE_RESPONSE
    assert caught.value.address <= address < caught.value.address + 4096
    bench.restart_is_right()


def test_read_outside_the_window(bench: Bench) -> None:
    driver, program = bench.driver, bench.program
    driver.configure(program)
    driver.write_pair("window_base", program.base_address + 4096)
    driver.start()
    with pytest.raises(EngineError, match="read outside window") as caught:
        driver.wait(LIMIT)
    assert program.base_address <= caught.value.address < program.base_address + 4096
    bench.restart_is_right()


def test_program_outside_the_window(bench: Bench) -> None:
    driver, program = bench.driver, bench.program
    driver.configure(program)
    driver.write_pair("window_limit", program.program_address)
    driver.start()
    with pytest.raises(EngineError, match="read outside window") as caught:
        driver.wait(LIMIT)
    assert caught.value.address == program.program_address
    assert driver.read_pair("cycles") < 20
    bench.restart_is_right()


def test_write_outside_the_window(bench: Bench) -> None:
    """A store is sent past the end of memory: nothing there, or in memory, changes."""
    program = bench.program
    index = next(i for i, d in enumerate(program.descriptors) if isinstance(d, Store))
    start = program.program_address - program.base_address + index * DESCRIPTOR_BYTES
    code = int.from_bytes(bench.image[start : start + DESCRIPTOR_BYTES].tobytes(), "little")
    moved = code + ((program.window[1] + 4096 - program.descriptors[index].transfer.address) << 32)
    bench.image[start : start + DESCRIPTOR_BYTES] = np.frombuffer(
        moved.to_bytes(DESCRIPTOR_BYTES, "little"), np.uint8
    )
    before = bench.image.copy()
    with pytest.raises(EngineError, match="write outside window") as caught:
        bench.go()
    assert caught.value.address >= program.window[1]
    assert np.array_equal(bench.image, before)
    bench.restart_is_right()


@pytest.mark.parametrize("opcode", [0, 7, 15])
def test_illegal_descriptor(bench: Bench, opcode: int) -> None:
    index = 6
    start = bench.program.program_address - bench.program.base_address + index * DESCRIPTOR_BYTES
    bench.image[start] = (bench.image[start] & 0xF0) | opcode
    with pytest.raises(EngineError, match="illegal descriptor") as caught:
        bench.go()
    assert caught.value.cause is Cause.ILLEGAL_DESCRIPTOR
    assert caught.value.address == bench.program.program_address + index * DESCRIPTOR_BYTES
    bench.restart_is_right()


@pytest.mark.parametrize("cycles", [1, 10, 57, 200, 901, 3000])
@pytest.mark.parametrize("memory", PRESETS.values(), ids=PRESETS)
def test_clear_in_the_middle(bench: Bench, cycles: int, memory: MemoryModel) -> None:
    driver = bench.driver
    driver.configure(bench.program)
    driver.model.start_memory(memory)
    driver.start()
    assert driver.model.run(cycles) is Outcome.CYCLES
    assert driver.read("status") == BUSY
    driver.write("control", CLEAR)
    bench.restart_is_right()


@pytest.mark.parametrize("cycles", [33, 700])
def test_reset_in_the_middle(bench: Bench, cycles: int) -> None:
    driver = bench.driver
    driver.configure(bench.program)
    driver.start()
    driver.model.run(cycles)
    driver.model.reset()
    bench.restart_is_right()


def test_settings_are_locked_while_busy(bench: Bench) -> None:
    driver = bench.driver
    driver.configure(bench.program)
    driver.start()
    driver.write("program_chunks", 1)
    assert driver.read("program_chunks") == bench.program.chunks
    driver.wait(LIMIT)

"""The driver on simulated engines: runs, what goes wrong, and the next run after it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import DESCRIPTOR_BYTES
from celosia.dataflow.memory import DDR4, MemoryModel
from celosia.dataflow.presets import preset
from celosia.dataflow.timing import timing
from celosia.fpga.deploy import deploy
from celosia.fpga.driver import (
    Accelerator,
    BusyError,
    EngineError,
    EngineTimeoutError,
    ResetError,
    WrongAcceleratorError,
    measure,
)
from celosia.models.errors import CelosiaError
from celosia.models.random_network import random_network
from celosia.rtl.registers import Cause
from celosia.sim.run import Simulator
from celosia.sim.transport import NativeTransport

from .engines import case, simulator, user_script


class Watched(NativeTransport):
    """A transport that does something to the engine when a program was started."""

    def __init__(self) -> None:
        super().__init__(simulator())
        self.after_start: Callable[[], None] = lambda: None

    def stick(self) -> None:
        """Let the memory take bursts and never answer."""
        self.model._calls.celosia_start_memory(self.model._handle, 1 << 40, 8, 8)

    def write_register(self, offset: int, value: int) -> None:
        super().write_register(offset, value)
        if (offset, value) == (0x20, 1):
            self.after_start()


@pytest.fixture
def transport() -> Watched:
    return Watched()


@pytest.fixture
def engine(transport: Watched) -> Iterator[Accelerator]:
    with Accelerator(transport, seconds=0.3) as engine:
        engine.load(case().program)
        yield engine


def next_run_is_right(engine: Accelerator) -> None:
    assert case().is_right(engine.run(case().inputs))


@pytest.mark.parametrize("buffers", [1, 2])
def test_the_users_script(buffers: int) -> None:
    counters = user_script(NativeTransport(simulator()), case(), buffers=buffers)
    assert counters["cycles"] == timing(case().program, DDR4).cycles


def test_every_start_takes_the_predicted_cycles(engine: Accelerator) -> None:
    engine.run(case().inputs)
    assert set(engine.cycles.tolist()) == {timing(case().program, DDR4).cycles}
    predicted = timing(case().program, DDR4).layers
    assert engine.layer_cycles() == {layer.name: layer.cycles for layer in predicted}


def test_file_is_all_that_a_board_needs(tmp_path: Path) -> None:
    """Loaded and run by a process that imports neither generator nor compiler."""
    case().deployment.save(tmp_path / "p.npz")
    with Accelerator(NativeTransport(simulator())) as engine:
        engine.load(tmp_path / "p.npz")
        next_run_is_right(engine)
    code = (
        "import sys; from celosia.fpga.driver import Deployment; Deployment.load(sys.argv[1]);"
        "sys.exit(sorted({'torch', 'amaranth', 'numba', 'scipy'} & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "p.npz")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


def test_striped_memory() -> None:
    tiny = preset("tiny")
    striped = replace(tiny, name="tiny_2", bus=replace(tiny.bus, ports=2))
    network = random_network(2, tuple(group.format for group in tiny.array.columns))
    what = replace(case(), program=(program := compile_network(network, striped)))
    what = replace(what, deployment=deploy(program))
    user_script(NativeTransport(Simulator(striped)), what, buffers=2)


def test_metrics(engine: Accelerator, tmp_path: Path) -> None:
    outputs, measured = measure(engine, case().inputs, seconds=0.01)
    assert case().is_right(outputs)
    assert measured.samples >= 3
    assert measured.samples % 3 == 0
    measured.save(tmp_path / "metrics.json")
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["cycles_least"] == values["cycles_most"] == values["counters"]["cycles"]
    assert values["frames_per_second"] == pytest.approx(values["samples"] / values["seconds"])
    assert sum(values["layer_cycles"].values()) <= values["cycles_most"]


def test_cause_in_words_and_the_next_run(engine: Accelerator, transport: Watched) -> None:
    address = engine.deployment.placement(case().program.inputs[0]).address
    transport.model.inject(address)
    words = r"stopped: read response, at address 0x\w+ \(memory answered a read with an error\)"
    with pytest.raises(EngineError, match=words) as caught:
        engine.run(case().inputs)
    assert caught.value.cause is Cause.READ_RESPONSE
    transport.model.clear_faults()
    next_run_is_right(engine)


def test_program_that_is_not_legal(engine: Accelerator, transport: Watched) -> None:
    deployment = engine.deployment
    place = deployment.program_address + 6 * DESCRIPTOR_BYTES
    before = transport.read_memory(place, DESCRIPTOR_BYTES)
    transport.write_memory(place, before & 0xF0)
    with pytest.raises(EngineError, match="a descriptor of the program is not legal"):
        engine.run(case().inputs)
    transport.write_memory(place, before)
    next_run_is_right(engine)


def test_reset_in_the_middle(engine: Accelerator, transport: Watched) -> None:
    def reset() -> None:
        transport.model.run(500)
        transport.model.reset()

    transport.after_start = reset
    with pytest.raises(ResetError, match="it was reset, or cleared by another driver; run again"):
        engine.run(case().inputs)
    transport.after_start = lambda: None
    next_run_is_right(engine)


def lose_power(transport: Watched) -> None:
    transport.model.reset()
    transport._image[:] = 0


@pytest.mark.parametrize("buffers", [1, 2])
def test_power_is_lost_between_runs(engine: Accelerator, transport: Watched, buffers: int) -> None:
    """Before the first run nothing shows it, but an error; after a run the status does."""
    engine.load(case().deployment, buffers=buffers)
    lose_power(transport)
    with pytest.raises(EngineError, match="a descriptor of the program is not legal"):
        engine.run(case().inputs)
    next_run_is_right(engine)
    lose_power(transport)
    next_run_is_right(engine)


def test_power_is_lost_in_the_middle(engine: Accelerator, transport: Watched) -> None:
    transport.after_start = lambda: lose_power(transport)
    with pytest.raises(ResetError):
        engine.run(case().inputs)
    transport.after_start = lambda: None
    next_run_is_right(engine)


def test_another_board_after_a_failure(
    engine: Accelerator, transport: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.after_start = transport.model.reset
    with pytest.raises(ResetError):
        engine.run(case().inputs)
    transport.after_start = lambda: None
    there, read = case().deployment.registers["fingerprint0"], transport.read_register
    with monkeypatch.context() as patch:
        patch.setattr(transport, "read_register", lambda o: read(o) ^ (o == there))
        with pytest.raises(WrongAcceleratorError, match="the engine that answers has hash"):
            engine.run(case().inputs)
    next_run_is_right(engine)


def test_stuck_bus(engine: Accelerator, transport: Watched) -> None:
    transport.stick()
    seen = (
        r"did not end within 0.3 s: the engine is busy, \d+ cycles after the start, cause none "
        r"\(nothing stopped it\); no data moves on its memory bus \(0 beats read, 0 beats written "
        r"so far\): the bus seems stuck"
    )
    with pytest.raises(EngineTimeoutError, match=seen):
        engine.run(case().inputs)
    stuck = "a burst that it began on its memory bus does not end. Free the bus, or reset engine"
    for call in (lambda: engine.run(case().inputs), engine.clear):
        with pytest.raises(EngineTimeoutError, match=stuck):
            call()
    transport.model.reset()
    transport.model.start_memory(DDR4)
    next_run_is_right(engine)


def test_slow_program_is_told_from_a_stuck_bus(engine: Accelerator, transport: Watched) -> None:
    transport.model.start_memory(MemoryModel(latency=3000, bytes_per_cycle=8, outstanding=1))
    engine._seconds = 1e-6
    with pytest.raises(EngineTimeoutError, match="data still moves on its memory bus: give it"):
        engine.run(case().inputs)
    engine._seconds = 1
    engine.clear()
    transport.model.start_memory(DDR4)
    next_run_is_right(engine)


def test_two_starts_in_a_row(engine: Accelerator, transport: Watched) -> None:
    """A second start is ignored by the engine, and refused by the driver."""
    transport.after_start = lambda: NativeTransport.write_register(transport, 0x20, 1)
    next_run_is_right(engine)
    transport.after_start = lambda: None
    transport.write_register(0x20, 1)
    with pytest.raises(BusyError, match="runs a program that this run did not start"):
        engine.run(case().inputs)
    engine.clear()
    next_run_is_right(engine)


def test_two_threads(engine: Accelerator, transport: Watched) -> None:
    caught: list[BaseException] = []

    def second() -> None:
        try:
            engine.run(case().inputs)
        except BusyError as error:
            caught.append(error)

    def in_another_thread() -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    transport.after_start = in_another_thread
    next_run_is_right(engine)
    assert len(caught) == 3
    assert "another thread runs this engine" in str(caught[0])


def test_interrupted_by_the_user(engine: Accelerator, transport: Watched) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    transport.after_start = interrupt
    with pytest.raises(KeyboardInterrupt):
        engine.run(case().inputs)
    transport.after_start = lambda: None
    next_run_is_right(engine)


def test_program_of_a_killed_script_is_stopped_by_a_load(
    engine: Accelerator, transport: Watched
) -> None:
    transport.write_register(0x20, 1)
    engine.load(case().deployment)
    next_run_is_right(engine)


def test_another_accelerators_program(engine: Accelerator) -> None:
    tiny = preset("tiny")
    other = replace(tiny, name="other", buffers=replace(tiny.buffers, weights=1024))
    program = compile_network(
        random_network(2, tuple(group.format for group in tiny.array.columns)), other
    )
    words = r"for accelerator 'other' with hash \w{32}, the engine that answers has hash \w{32}: lo"
    with pytest.raises(WrongAcceleratorError, match=words):
        engine.load(program)
    with pytest.raises(CelosiaError, match="no program is loaded"):
        engine.run(case().inputs)
    engine.load(case().deployment)
    next_run_is_right(engine)


@pytest.mark.parametrize(
    ("register", "value", "words"),
    [
        ("magic", 0xFFFF_FFFF, "no engine answers: its first register reads 0xffffffff, not"),
        ("version", 9, "has version 9 of the registers, this driver knows 1"),
        ("status", 0, "status reads 0x00000000, which it never is"),
    ],
)
def test_something_else_answers(
    transport: Watched, monkeypatch: pytest.MonkeyPatch, register: str, value: int, words: str
) -> None:
    there, read = case().deployment.registers[register], transport.read_register
    monkeypatch.setattr(transport, "read_register", lambda o: value if o == there else read(o))
    with Accelerator(transport) as engine, pytest.raises(CelosiaError, match=words):
        engine.load(case().deployment)


def test_used_wrongly(transport: Watched) -> None:
    with pytest.raises(ValueError, match=r"^seconds must be positive, not 0$"):
        Accelerator(transport, seconds=0)
    with Accelerator(transport) as engine:
        for call in (engine.counters, engine.clear, lambda: engine.deployment):
            with pytest.raises(CelosiaError, match="no program is loaded: call load"):
                call()
        with pytest.raises(ValueError, match=r"^buffers must be 1 or 2, not 3$"):
            engine.load(case().deployment, buffers=3)
        with pytest.raises(CelosiaError, match=r"or the name of that file, not int$"):
            engine.load(3)
        engine.load(case().deployment)
        with pytest.raises(CelosiaError, match="no program has run to its end"):
            engine.layer_cycles()
        with pytest.raises(CelosiaError, match="has the inputs"):
            engine.run({"nothing": np.zeros(1, np.int64)})
        for inputs in (None, np.zeros(1, np.int64)):
            with pytest.raises(CelosiaError, match=r"takes its inputs by name, \w+, not \w+$"):
                engine.run(inputs)
    with pytest.raises(CelosiaError, match=r"asked for, the engine has 1 of 8: load a program"):
        Watched().place(8192, ports=2, beat_bytes=16)

# amaranth: UnusedElaboratable=no
"""The board's system, whole: its RTL behind a pseudo-terminal, and the driver that boards have."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.descriptors import DESCRIPTOR_BYTES
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter
from celosia.dataflow.timing import timing
from celosia.fpga.driver import (
    Accelerator,
    EngineError,
    LinkError,
    RefusedError,
    ResetError,
    UartTransport,
    WrongAcceleratorError,
)
from celosia.fpga.ecp5_top import Ecp5Top
from celosia.fpga.frames import ANSWER, MOST_WORDS, REQUEST, Operation
from celosia.fpga.serial_boards import MEMORY_BYTES, SERIAL_BOARDS
from celosia.models.errors import CelosiaError
from celosia.rtl.registers import MAGIC
from celosia.rtl.verilog import write_verilog
from celosia.scripts.board_run import DIVISOR, simulate_board
from celosia.sim.serial.board import BoardModel, PtyBoard

from .driver.engines import Case, case, user_script

MEMORY = 1 << 16
INTERRUPT_ENABLE = 0x28
ECPIX5 = SERIAL_BOARDS["ecpix5"]


@pytest.fixture(scope="module")
def verilog() -> str:
    """An ECPIX-5: the clock at its pin is divided, its button and LEDs are low when they are on.

    Its serial link is as fast as can be.
    """
    return write_verilog(Ecp5Top.of(ECPIX5, preset("tiny"), memory_bytes=MEMORY, divisor=DIVISOR))


def model(verilog: str, cycles: int = DIVISOR) -> BoardModel:
    """Return the board, at the end of a link with so many of its cycles for a bit."""
    return BoardModel(
        verilog, "ecp5_top", cycles << ECPIX5.halvings, button_low=True, leds_low=True
    )


@pytest.fixture(scope="module")
def board(verilog: str) -> Iterator[PtyBoard]:
    with PtyBoard(model(verilog)) as board:
        yield board


def transport(board: PtyBoard, patience: float = 3) -> UartTransport:
    return UartTransport(board.port, patience=patience)


@pytest.fixture(scope="module")
def engine(board: PtyBoard) -> Iterator[Accelerator]:
    with Accelerator(transport(board), seconds=20) as engine:
        engine.load(case().deployment)
        yield engine


@functools.cache
def one_sample() -> Case:
    """Return the case with its first sample alone."""
    what = case()
    return replace(
        what,
        inputs={name: codes[:1] for name, codes in what.inputs.items()},
        golden={name: codes[:1] for name, codes in what.golden.items()},
    )


def next_run_is_right(engine: Accelerator) -> None:
    assert one_sample().is_right(engine.run(one_sample().inputs))


def test_users_script(board: PtyBoard) -> None:
    counters = user_script(transport(board), one_sample())
    predicted = timing(case().program, DDR4).counters
    assert counters["compute_steps"] == predicted[Counter.COMPUTE_STEPS]
    assert board.leds & 0b0110 == 0b0010, "done and no error"


@pytest.mark.campaign
@pytest.mark.parametrize("name", SERIAL_BOARDS)
def test_at_the_speed_of_the_boards_link(name: str) -> None:
    """As the bitstream has it: 1 Mbaud of the pin's clock, all of the memory."""
    own = SERIAL_BOARDS[name]
    made = simulate_board(own, preset("tiny"), divisor=own.divisor, memory_bytes=MEMORY_BYTES)
    with PtyBoard(made) as board:
        user_script(UartTransport(board.port, patience=60), one_sample())
        assert board.leds & 0b0110 == 0b0010, "done and no error"


def test_garbage_between_and_inside_requests(engine: Accelerator, board: PtyBoard) -> None:
    """Noise is skipped; what it destroys is sent again, once it was given up."""
    before = engine.counters()
    board.disturb(bytes([0, 0x99, 0xFF, ANSWER, 0x13]))
    assert engine.counters() == before
    board.disturb(bytes([REQUEST, 0x11, 0x22]))  # a request that ends in the middle
    assert engine.counters() == before
    next_run_is_right(engine)


def test_write_of_a_new_transport_is_carried_out(board: PtyBoard) -> None:
    """Whatever number its request has: the last one of another transport may have had it."""
    for value in (1, 0):
        link = transport(board)
        link.write_register(INTERRUPT_ENABLE, value)
        link.close()
    link = transport(board)
    assert link.read_register(INTERRUPT_ENABLE) == 0
    link.close()


def test_write_after_as_many_refusals_as_there_are_numbers(board: PtyBoard) -> None:
    """A request that is refused is not the one that the board carried out last."""
    link = transport(board)
    link.write_register(INTERRUPT_ENABLE, 1)
    for _ in range(255):
        with pytest.raises(RefusedError):
            link.read_register(2)
    link.write_register(INTERRUPT_ENABLE, 0)
    assert link.read_register(INTERRUPT_ENABLE) == 0
    link.close()


def test_write_after_another_transports(board: PtyBoard) -> None:
    """A port that was closed and is opened again, and was another's meanwhile."""
    first, second = transport(board), transport(board)
    first.write_register(INTERRUPT_ENABLE, 1)
    first.close()
    while second._number < first._number:
        second.read_register(0)
    second.write_register(INTERRUPT_ENABLE, 0)
    assert second._number == first._number + 1
    second.close()
    first.write_register(INTERRUPT_ENABLE, 1)
    assert first.read_register(INTERRUPT_ENABLE) == 1
    first.write_register(INTERRUPT_ENABLE, 0)
    first.close()


def test_cable_pulled_in_the_middle_of_a_frame(engine: Accelerator, board: PtyBoard) -> None:
    """Of a write of memory a part arrives: nothing of it is written, and the next run is right."""
    before = engine._transport.read_memory(0x80, 64)
    patient, engine._transport._patience = engine._transport._patience, 0.2
    board.pull_cable(after=40)
    with pytest.raises(LinkError, match=r"does not answer \(no answer came, 3 times\): check the"):
        engine._transport.write_memory(0x80, ~before)
    with pytest.raises(LinkError, match="check the cable"):
        engine.run(one_sample().inputs)
    board.plug_in()
    engine._transport._patience = patient
    assert np.array_equal(engine._transport.read_memory(0x80, 64), before)
    next_run_is_right(engine)


def test_reset_in_the_middle_of_a_run(engine: Accelerator, board: PtyBoard) -> None:
    transport, write = engine._transport, engine._transport.write_register

    def write_and_press(offset: int, value: int) -> None:
        write(offset, value)
        if (offset, value) == (0x20, 1):
            board.press_button()

    transport.write_register = write_and_press
    with pytest.raises(ResetError, match="it was reset"):
        engine.run(one_sample().inputs)
    transport.write_register = write
    next_run_is_right(engine)


def test_error_of_the_engine(engine: Accelerator) -> None:
    """A descriptor that leads beyond the board's memory: the window of the run is its bound."""
    deployment, link = engine.deployment, engine._transport
    place = deployment.program_address + 6 * DESCRIPTOR_BYTES
    before = link.read_memory(place, 1)
    link.write_memory(place, before & 0xF0)
    with pytest.raises(EngineError, match="illegal descriptor, at address"):
        engine.run(one_sample().inputs)
    link.write_memory(place, before)
    next_run_is_right(engine)


def test_what_the_board_refuses(engine: Accelerator, board: PtyBoard) -> None:
    link, last = engine._transport, np.arange(4, dtype=np.uint8)
    link.write_memory(MEMORY - 4, last)
    assert np.array_equal(link.read_memory(MEMORY - 3, 2), last[1:3])
    for call in (
        lambda: link.write_memory(MEMORY - 4, np.zeros(8, np.uint8)),
        lambda: link.read_memory(MEMORY, 4),
        lambda: link.read_register(4096),
        lambda: link.read_register(2),
    ):
        with pytest.raises(CelosiaError, match="outside of its memory and registers"):
            call()
    with pytest.raises(CelosiaError, match="it knows no such request"):
        link._request(Operation.READ_MEMORY, 0, MOST_WORDS + 1)
    assert np.array_equal(link.read_memory(MEMORY - 4, 4), last)
    other = replace(case().deployment, fingerprint=1)
    with pytest.raises(WrongAcceleratorError, match=r"hash 0{31}1, the engine that answers has"):
        engine.load(other)
    assert link.place(MEMORY, ports=1, beat_bytes=8) == (0, ())
    with pytest.raises(CelosiaError, match=r"takes 131,072 .* has 65,536: .* with more \(--memory"):
        link.place(1 << 17, ports=1, beat_bytes=8)
    with pytest.raises(CelosiaError, match="set ports = 1"):
        link.place(4096, ports=2, beat_bytes=16)


def test_wrong_speed_of_the_link(verilog: str) -> None:
    with PtyBoard(model(verilog, 2 * DIVISOR)) as board:
        link = transport(board, patience=0.1)
        with pytest.raises(LinkError, match=r"3 times\): check the cable, .* its speed, and"):
            link.read_register(0)


def test_closed_board_is_refused_in_words(verilog: str) -> None:
    closed = model(verilog)
    closed.close()
    closed.close()
    for call in (lambda: closed.run(1), lambda: closed.leds, closed.receive, closed.drop):
        with pytest.raises(CelosiaError, match="the simulated board is closed: make another"):
            call()


def test_port_that_is_gone_is_opened_again(board: PtyBoard) -> None:
    link = transport(board)
    assert link.read_register(0) == MAGIC
    os.close(link._port._descriptor)
    link._port._descriptor = os.open("/dev/null", os.O_RDWR)
    with pytest.raises(LinkError, match=r"is gone \(it hung up\): plug the cable in again"):
        link.read_register(0)
    assert link.read_register(0) == MAGIC
    link.close()
    with pytest.raises(LinkError, match=r"cannot open the serial port .* check the name"):
        UartTransport("/dev/no-such-port")
    with pytest.raises(LinkError, match="no serial port here has 12345 bits a second"):
        UartTransport(board.port, baud=12345)
    with pytest.raises(LinkError, match="/dev/null is no serial port: Inappropriate ioctl"):
        UartTransport("/dev/null")

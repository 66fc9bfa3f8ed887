"""The host's driver, against a model of the link's protocol."""

import struct

import numpy as np
import pytest

from celosia.fpga.host_link import ACKNOWLEDGE, HEADER_BYTES, Operation
from celosia.fpga.serial_host import MOST_WORDS, Host, image_words
from celosia.models.errors import CelosiaError


class Board:
    """A port with a board behind it that has registers and a memory."""

    def __init__(self):
        self.registers = {0x24: 1}
        self.memory = bytearray(1 << 19)
        self.received = b""
        self.answers = b""

    def write(self, data):
        self.received += data
        while len(self.received) >= HEADER_BYTES:
            code, address, words = struct.unpack_from("<BIH", self.received)
            operation = Operation(code)
            size = 0 if code & 1 else 4 * words
            if len(self.received) < HEADER_BYTES + size:
                return
            contents = self.received[HEADER_BYTES : HEADER_BYTES + size]
            self.received = self.received[HEADER_BYTES + size :]
            if operation is Operation.WRITE_MEMORY:
                self.memory[address : address + size] = contents
            elif operation is Operation.WRITE_REGISTER:
                (self.registers[address],) = struct.unpack("<I", contents)
            elif operation is Operation.READ_MEMORY:
                self.answers += self.memory[address : address + 4 * words]
            else:
                self.answers += struct.pack("<I", self.registers.get(address, 0))
            if not code & 1:
                self.answers += bytes([ACKNOWLEDGE])

    def read(self, size):
        taken, self.answers = self.answers[:size], self.answers[size:]
        return taken


def test_memory_longer_than_a_command():
    board = Board()
    contents = np.random.default_rng(7).integers(0, 256, 4 * MOST_WORDS + 40).astype(np.uint8)
    Host(board).write_memory(64, contents.tobytes())
    assert Host(board).read_memory(64, contents.size) == contents.tobytes()
    assert board.answers == b""


def test_start_writes_the_registers_of_a_run():
    board = Board()
    Host(board).start(program=0x1_0000_0100, chunks=3, window=(0, 1 << 17))
    assert board.registers[0x30] == 0x100
    assert board.registers[0x34] == 1
    assert board.registers[0x38] == 3
    assert (board.registers[0x40], board.registers[0x48]) == (0, 1 << 17)
    assert board.registers[0x20] == 1


def test_wait_and_cycles():
    board = Board()
    board.registers |= {0x24: 2, 0x80: 5, 0x84: 1}
    host = Host(board)
    host.wait()
    assert host.cycles() == (1 << 32) + 5


def test_error_of_the_engine_is_reported():
    board = Board()
    board.registers |= {0x24: 4, 0x2C: 1, 0x50: 0x1240}
    with pytest.raises(CelosiaError, match="cause 1 at address 0x1240"):
        Host(board).wait()


def test_never_done():
    with pytest.raises(CelosiaError, match="not done after 0 s"):
        Host(Board()).wait(0)


def test_silent_board():
    class Silent(Board):
        def write(self, data):
            pass

    with pytest.raises(CelosiaError, match="sent 0 of 4 bytes: check the cable"):
        Host(Silent()).read_register(0)


def test_wrong_answer():
    class Wrong(Board):
        def read(self, size):
            return b"?" * size

    with pytest.raises(CelosiaError, match="check the baud rate"):
        Host(Wrong()).write_register(0, 1)


@pytest.mark.parametrize(("address", "size"), [(2, 4), (0, 3), (-4, 4)])
def test_unaligned_is_refused(address, size):
    with pytest.raises(ValueError, match="multiples of 4"):
        Host(Board()).write_memory(address, bytes(size))


def test_image_is_padded_to_words():
    assert image_words(np.arange(5)) == bytes([0, 1, 2, 3, 4, 0, 0, 0])

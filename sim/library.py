"""One verilated engine as a Python object: the binding of ``native/api.cpp``."""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from celosia.dataflow.memory import MemoryModel
from celosia.models.errors import CelosiaError

_ABI: Final = 4
_HANDLE: Final = ctypes.c_void_p
_UINT64: Final = ctypes.c_uint64
_UINT32_OUT: Final = ctypes.POINTER(ctypes.c_uint32)
_SIGNATURES: Final[dict[str, tuple[object, list[object]]]] = {
    "celosia_abi": (ctypes.c_int, []),
    "celosia_ports": (ctypes.c_uint, []),
    "celosia_port_bytes": (ctypes.c_uint, []),
    "celosia_new": (_HANDLE, []),
    "celosia_delete": (None, [_HANDLE]),
    "celosia_reset": (None, [_HANDLE]),
    "celosia_attach": (None, [_HANDLE, ctypes.c_void_p, _UINT64, _UINT64]),
    "celosia_place": (None, [_HANDLE, ctypes.c_uint, _UINT64]),
    "celosia_start_memory": (None, [_HANDLE, _UINT64, _UINT64, _UINT64]),
    "celosia_limit_bursts": (None, [_HANDLE, ctypes.c_uint]),
    "celosia_inject": (None, [_HANDLE, _UINT64]),
    "celosia_clear_faults": (None, [_HANDLE]),
    "celosia_watch": (None, [_HANDLE, _UINT64]),
    "celosia_clear_watches": (None, [_HANDLE]),
    "celosia_watched": (_UINT64, [_HANDLE, _UINT64]),
    "celosia_write": (ctypes.c_int, [_HANDLE, ctypes.c_uint32, ctypes.c_uint32, _UINT32_OUT]),
    "celosia_read": (ctypes.c_int, [_HANDLE, ctypes.c_uint32, _UINT32_OUT, _UINT32_OUT]),
    "celosia_run": (ctypes.c_int, [_HANDLE, _UINT64]),
    "celosia_cycle": (_UINT64, [_HANDLE]),
    "celosia_message": (ctypes.c_char_p, [_HANDLE]),
    "celosia_record": (None, [_HANDLE, ctypes.c_int]),
    "celosia_replay": (_UINT64, [_HANDLE]),
    "celosia_trace_begin": (ctypes.c_int, [_HANDLE, ctypes.c_char_p]),
    "celosia_trace_end": (None, [_HANDLE]),
    "celosia_peek": (
        ctypes.c_uint,
        [_HANDLE, ctypes.c_char_p, ctypes.c_char_p, _UINT64, ctypes.c_char_p, ctypes.c_uint],
    ),
    "celosia_tap": (ctypes.c_int, [_HANDLE, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint]),
    "celosia_tap_signal": (
        ctypes.c_uint,
        [_HANDLE, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p],
    ),
    "celosia_tapped": (ctypes.c_void_p, [_HANDLE, ctypes.c_int, ctypes.POINTER(_UINT64)]),
    "celosia_clear_tap": (None, [_HANDLE, ctypes.c_int]),
}

_TOP: Final = "engine"
"""What the harness calls the model."""
_ROW_BYTES: Final = 1 << 16


class Outcome(enum.Enum):
    """How :meth:`Model.run` ended."""

    INTERRUPT = 0
    """The engine raised its interrupt."""
    CYCLES = 1
    """The cycles asked for are over and there was no interrupt."""


_VIOLATION: Final = 2


class ProtocolError(CelosiaError):
    """The engine broke a rule of its bus, or its registers do not answer: a fault in hardware."""


class Model:
    """One instance of a verilated engine with its memory. Not for two threads at once.

    Calls release the interpreter's lock, so instances in several threads run at once.

    Parameters
    ----------
    library : Path
        What :func:`celosia.sim.verilate.verilate` built.

    Raises
    ------
    CelosiaError
        When the library cannot be loaded.
    """

    def __init__(self, library: Path) -> None:
        self._handle: int | None = None
        try:
            self._calls = ctypes.CDLL(str(library))
            for name, (result, arguments) in _SIGNATURES.items():
                call = getattr(self._calls, name)
                call.restype, call.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise CelosiaError(
                f"the simulator {library} cannot be loaded ({error}). Remove it: it is built again"
            ) from error
        if self._calls.celosia_abi() != _ABI:
            raise CelosiaError(f"the simulator {library} is of another version. Remove it")
        self._handle = self._calls.celosia_new()
        if not self._handle:
            raise CelosiaError(f"the simulator {library} cannot start: too little memory")
        self._memory: np.ndarray | None = None

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Free the model; it cannot be used any more."""
        if self._handle:
            self._calls.celosia_delete(self._handle)
            self._handle = None

    @property
    def _live(self) -> int:
        """What C knows the model by."""
        if self._handle is None:
            raise CelosiaError("the simulated engine is closed: make another")
        return self._handle

    @property
    def ports(self) -> int:
        """Memory ports."""
        return int(self._calls.celosia_ports())

    @property
    def port_bytes(self) -> int:
        """Bytes of one beat of a memory port."""
        return int(self._calls.celosia_port_bytes())

    @property
    def cycle(self) -> int:
        """Cycles since the model was made."""
        return int(self._calls.celosia_cycle(self._live))

    def reset(self) -> None:
        """Hold ``aresetn`` low for some cycles; forgets all bursts in the memory."""
        self._calls.celosia_reset(self._live)

    def attach(self, memory: np.ndarray, base: int) -> None:
        """Make ``memory`` (uint8, contiguous, writable) the bytes from address ``base`` on.

        The engine reads and writes the array itself. All else answers with a decode error.
        """
        flags = memory.flags
        if memory.dtype != np.uint8 or not (flags.c_contiguous and flags.writeable):
            raise TypeError("memory must be a contiguous, writable array of uint8")
        self._memory = memory  # kept alive as long as the engine may touch it
        self._calls.celosia_attach(self._live, memory.ctypes.data, base, memory.size)

    def start_memory(self, model: MemoryModel) -> None:
        """Set the timing, of the memory behind each port, and start it afresh, as at cycle 0."""
        rate = min(model.bytes_per_cycle, self.port_bytes)
        self._calls.celosia_start_memory(self._live, model.latency, rate, model.outstanding)

    def place_stripes(self, bases: Sequence[int]) -> None:
        """Say where each port's stripe of memory begins, see :mod:`celosia.dataflow.stripes`."""
        for port, base in enumerate(bases):
            self._calls.celosia_place(self._live, port, base)

    def limit_bursts(self, beats: int) -> None:
        """Make bursts of more than ``beats`` beats a violation."""
        self._calls.celosia_limit_bursts(self._live, beats)

    def inject(self, address: int) -> None:
        """Answer every beat that holds the byte at ``address`` with an error from now on."""
        self._calls.celosia_inject(self._live, address)

    def clear_faults(self) -> None:
        """Undo every :meth:`inject`."""
        self._calls.celosia_clear_faults(self._live)

    def watch(self, address: int) -> None:
        """Remember from now on when the byte at ``address`` is written."""
        self._calls.celosia_watch(self._live, address)

    def clear_watches(self) -> None:
        """Forget every :meth:`watch`."""
        self._calls.celosia_clear_watches(self._live)

    def watched(self, address: int) -> int | None:
        """Return the cycle of the last write to a watched byte, or None."""
        cycle = int(self._calls.celosia_watched(self._live, address))
        return cycle - 1 if cycle else None

    def write(self, register: int, value: int) -> int:
        """Write a 32-bit register over AXI4-Lite; return the response (0: okay)."""
        response = ctypes.c_uint32()
        self._check(self._calls.celosia_write(self._live, register, value, ctypes.byref(response)))
        return response.value

    def read(self, register: int) -> int:
        """Return a 32-bit register, read over AXI4-Lite.

        Raises :class:`ProtocolError` when there is no such register or no answer.
        """
        data, response = ctypes.c_uint32(), ctypes.c_uint32()
        pointers = ctypes.byref(data), ctypes.byref(response)
        self._check(self._calls.celosia_read(self._live, register, *pointers))
        if response.value:
            raise ProtocolError(
                f"reading register 0x{register:x} gave response {response.value}: there is none"
            )
        return data.value

    def run(self, cycles: int) -> Outcome:
        """Run until the interrupt is high, at most ``cycles`` cycles.

        Raises :class:`ProtocolError` naming the cycle, the channel and the rule.
        """
        status = self._calls.celosia_run(self._live, cycles)
        self._check(status)
        return Outcome(status)

    def record(self, on: bool) -> None:
        """Keep all inputs of every coming cycle, or stop that."""
        self._calls.celosia_record(self._live, int(on))

    def replay(self) -> int:
        """Evaluate the bare model on the recorded inputs; return the cycles.

        The engine does what it did then if it is in the state that it was in.
        """
        return int(self._calls.celosia_replay(self._live))

    def trace(self, path: Path) -> None:
        """Write all signals to ``path`` (FST) until :meth:`end_trace`; 10 time units a cycle.

        Registers change at ``10 * cycle``, the memory port's inputs at ``10 * cycle + 5``.
        """
        if not self._calls.celosia_trace_begin(self._live, str(path).encode()):
            raise CelosiaError(f"no trace can be written to {path}: is the folder there?")

    def end_trace(self) -> None:
        """Finish the file that :meth:`trace` began."""
        self._calls.celosia_trace_end(self._live)

    def peek(self, scope: str, name: str, row: int) -> int | None:
        """Return a row of a memory inside the engine as it is now; None if there is none such.

        Only traced builds know their memories. ``scope`` is the path of the instance that holds
        memory ``name``, from the top module on, its parts joined by dots.
        """
        room = ctypes.create_string_buffer(_ROW_BYTES)
        path = f"{_TOP}.{scope}".encode()
        size = self._calls.celosia_peek(self._live, path, name.encode(), row, room, _ROW_BYTES)
        return int.from_bytes(room.raw[:size], "little") if size else None

    def tap(self, scope: str, name: str, delay: int = 0) -> int | None:
        """Keep a row of signals ``delay`` cycles after each cycle in which bit 0 of one is 1.

        Returns the tap's number, None where there is no such signal. A build knows the signals
        that it was told to leave visible. For ``scope`` see :meth:`peek`; ``delay`` is at most 63.
        """
        path = f"{_TOP}.{scope}".encode()
        number = int(self._calls.celosia_tap(self._live, path, name.encode(), delay))
        return None if number < 0 else number

    def tap_signal(self, tap: int, scope: str, name: str) -> int:
        """Add a signal to the rows of a tap; return its bytes, 0 where there is no such signal."""
        path = f"{_TOP}.{scope}".encode()
        return int(self._calls.celosia_tap_signal(self._live, tap, path, name.encode()))

    def tapped(self, tap: int, row_bytes: int) -> np.ndarray:
        """Return the rows of a tap since it was last cleared: uint8 (rows, 8 + ``row_bytes``).

        A row is its cycle and the signals in their order, the lowest byte of each first. The array
        is the tap's own memory: it holds until the model runs again.
        """
        size = _UINT64()
        start = self._calls.celosia_tapped(self._live, tap, ctypes.byref(size))
        rows = np.zeros(0, np.uint8)
        if size.value:
            rows = np.ctypeslib.as_array((ctypes.c_uint8 * size.value).from_address(start))
        return rows.reshape(-1, 8 + row_bytes)

    def clear_tap(self, tap: int) -> None:
        """Forget a tap's rows."""
        self._calls.celosia_clear_tap(self._live, tap)

    def _check(self, status: int) -> None:
        if status == _VIOLATION:
            message = self._calls.celosia_message(self._live)
            raise ProtocolError(message.decode())

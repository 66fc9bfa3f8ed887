"""Ports that several components share: bursts, the buffers' common write and the output read."""

from __future__ import annotations

from amaranth.hdl import ShapeLike
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Buffer, Token, Unit, tokens
from celosia.dataflow.microarchitecture import load_targets, word_beats

TOKEN_BITS = len(Token)
"""Width of a ``wait`` or ``signal`` mask."""


def taker_mask(unit: Unit, *, keeps: bool = True) -> int:
    """Return the mask of tokens that ``unit`` may wait for, where outputs can be kept or not."""
    return sum(1 << token for token in tokens(keeps=keeps) if token.taker is unit)


def giver_mask(unit: Unit, *, keeps: bool = True) -> int:
    """Return the mask of tokens that ``unit`` may signal, where outputs can be kept or not."""
    return sum(1 << token for token in tokens(keeps=keeps) if token.giver is unit)


BEATS_BITS = 9
"""Width of a burst's number of beats: 1 to 256."""


def burst_layout(address_bits: int) -> data.StructLayout:
    """One burst: byte ``address`` of its first beat and number of ``beats``, 1 to 256."""
    return data.StructLayout({"address": address_bits, "beats": BEATS_BITS})


class Flow(Signature):
    """A stream whose consumer is always ready, so it has no ``ready``.

    Parameters
    ----------
    shape : ShapeLike
        Shape of the payload.

    Members
    -------
    payload : Out(shape)
        Payload.
    valid : Out(1)
        It is meant, and taken, in this cycle.
    """

    def __init__(self, shape: ShapeLike) -> None:
        self._shape = shape
        super().__init__({"payload": Out(shape), "valid": Out(1)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flow) and other._shape == self._shape

    def __repr__(self) -> str:
        return f"Flow({self._shape!r})"


class BufferWrite(Signature):
    """One beat written to one word of one buffer; driven by the load unit, decoded by the buffers.

    Registered at the driver. A word of more than one beat is written slice by slice, slice 0
    (the lowest bits) first, each in a cycle of its own, any number of cycles apart.

    Parameters
    ----------
    data_bits : int
        Width of a beat, 64 to 512 bits.
    slices : int
        Most beats of any word, at least 1.
    target_bits : int
        2, or 3 where there are tables.

    Members
    -------
    enable : Out(1)
        The other members are meant in this cycle.
    target : Out(target_bits)
        A :class:`~celosia.dataflow.descriptors.Buffer`, by value.
    lane : Out(8)
        Pixel lane; meant for ``Buffer.ACTIVATIONS`` only.
    address : Out(16)
        Word in the buffer.
    slice : Out(range(slices))
        Beat within the word: ``data`` goes to bits ``slice * data_bits`` and up.
    data : Out(data_bits)
        The beat.
    """

    def __init__(self, *, data_bits: int, slices: int, target_bits: int = 2) -> None:
        self._data_bits = data_bits
        self._slices = slices
        self._target_bits = target_bits
        super().__init__(
            {
                "enable": Out(1),
                "target": Out(target_bits),
                "lane": Out(8),
                "address": Out(16),
                "slice": Out(slice_bits(slices)),
                "data": Out(data_bits),
            }
        )

    @classmethod
    def of(cls, accelerator: Accelerator) -> BufferWrite:
        """Return the signature for the buses and words of ``accelerator``."""
        slices = max(word_beats(buffer, accelerator) for buffer in Buffer)
        bits = (len(load_targets(accelerator)) - 1).bit_length()
        return cls(data_bits=accelerator.bus.data_bits, slices=slices, target_bits=bits)

    @property
    def data_bits(self) -> int:
        return self._data_bits

    @property
    def slices(self) -> int:
        return self._slices

    @property
    def target_bits(self) -> int:
        return self._target_bits

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, BufferWrite)
            and other._data_bits == self._data_bits
            and other._slices == self._slices
            and other._target_bits == self._target_bits
        )

    def __repr__(self) -> str:
        return (
            f"BufferWrite(data_bits={self._data_bits}, slices={self._slices}, "
            f"target_bits={self._target_bits})"
        )


class OutputRead(Signature):
    """Read of whole words of the output buffer; driven by the store unit.

    Parameters
    ----------
    data_bits : int
        Width of a beat, 64 to 512 bits.
    beats : int
        Beats of one output word.

    Members
    -------
    enable : Out(1)
        A word is read in this cycle (and counted).
    address : Out(16)
        Its address.
    data : In(beats * data_bits)
        The word, in the cycle after ``enable``; bits above the word are 0. It needs to hold
        for that one cycle only.
    """

    def __init__(self, *, data_bits: int, beats: int) -> None:
        self._data_bits = data_bits
        self._beats = beats
        super().__init__({"enable": Out(1), "address": Out(16), "data": In(beats * data_bits)})

    @classmethod
    def of(cls, accelerator: Accelerator) -> OutputRead:
        """Return the signature for the bus and output words of ``accelerator``."""
        beats = accelerator.beats(accelerator.activation_word_bits)
        return cls(data_bits=accelerator.bus.data_bits, beats=beats)

    @property
    def data_bits(self) -> int:
        return self._data_bits

    @property
    def beats(self) -> int:
        return self._beats

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, OutputRead)
            and other._data_bits == self._data_bits
            and other._beats == self._beats
        )

    def __repr__(self) -> str:
        return f"OutputRead(data_bits={self._data_bits}, beats={self._beats})"


class KeepWrite(Signature):
    """Write of whole words into the activation buffer; driven by the store unit.

    Parameters
    ----------
    word_bits : int
        Bits of an activation word, filled up to whole beats.

    Members
    -------
    enable : Out(1)
    lane : Out(8)
        Pixel lane.
    address : Out(16)
    data : Out(word_bits)
    """

    def __init__(self, *, word_bits: int) -> None:
        self._word_bits = word_bits
        super().__init__(
            {"enable": Out(1), "lane": Out(8), "address": Out(16), "data": Out(word_bits)}
        )

    @classmethod
    def of(cls, accelerator: Accelerator) -> KeepWrite:
        """Return the signature for the words of ``accelerator``."""
        return cls(word_bits=8 * accelerator.word_bytes(accelerator.activation_word_bits))

    @property
    def word_bits(self) -> int:
        return self._word_bits

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeepWrite) and other._word_bits == self._word_bits

    def __repr__(self) -> str:
        return f"KeepWrite(word_bits={self._word_bits})"


UNIT_PORTS = {"signal": Out(TOKEN_BITS), "busy": Out(1)}
"""What every unit has besides its stream ``i`` of descriptors.

``i`` is valid only when the descriptor's tokens are there, so a transfer on it *is* the accept.
``signal`` holds the descriptor's mask for the one cycle in which it signals, 0 otherwise.
``busy`` is 1 in every cycle in which a descriptor is accepted and has not yet signalled: from
the cycle after the accept to the cycle of the signal.
"""


def slice_bits(slices: int) -> int:
    """Bits of a beat index within a word of up to ``slices`` beats, at least 1."""
    return max(1, (slices - 1).bit_length())


class ErrorReport(Signature):
    """A part of the engine reports an error to the shell, which keeps the first.

    Parameters
    ----------
    address_bits : int
        Width of addresses.

    Members
    -------
    raised : Out(1)
        There is an error in this cycle.
    address : Out(address_bits)
        Of the burst or descriptor it concerns.
    """

    def __init__(self, *, address_bits: int) -> None:
        self._address_bits = address_bits
        super().__init__({"raised": Out(1), "address": Out(address_bits)})

    @property
    def address_bits(self) -> int:
        return self._address_bits

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ErrorReport) and other._address_bits == self._address_bits

    def __repr__(self) -> str:
        return f"ErrorReport(address_bits={self._address_bits})"


class Window(Signature):
    """The bytes that the engine may read and write.

    Parameters
    ----------
    address_bits : int
        Width of addresses.

    Members
    -------
    base : Out(address_bits)
        First byte inside.
    limit : Out(address_bits + 1)
        First byte after.
    """

    def __init__(self, *, address_bits: int) -> None:
        self._address_bits = address_bits
        super().__init__({"base": Out(address_bits), "limit": Out(address_bits + 1)})

    @property
    def address_bits(self) -> int:
        return self._address_bits

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Window) and other._address_bits == self._address_bits

    def __repr__(self) -> str:
        return f"Window(address_bits={self._address_bits})"

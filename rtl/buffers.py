"""The on-chip buffers: small memories, written beat by beat and read by whole words."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Buffer
from celosia.dataflow.memory_kinds import MemoryKind
from celosia.rtl.ports import BufferWrite, KeepWrite, OutputRead, slice_bits
from celosia.rtl.shared import Shared

ADDRESS_BITS = 16
"""Bits of a word address."""


def read_layout() -> data.StructLayout:
    """Return the layout of a buffer's read.

    The word at ``address`` is there in the cycle after ``enable`` and stays until the next read.
    """
    return data.StructLayout({"enable": 1, "address": ADDRESS_BITS})


class Ram(Shared):
    """A memory with one write port and one read port.

    What is read in the cycle of a write to the same row is undefined.

    Parameters
    ----------
    depth : int
        Rows, 1 to 65536.
    width : int
        Bits of a row, at least 1.
    kind : MemoryKind
        What synthesis is told to make it of.

    Members
    -------
    write_enable : In(1)
    write_address : In(range(depth))
    write_data : In(width)
    read_enable : In(1)
    read_address : In(range(depth))
    read_data : Out(width)
        The row read last, from the cycle after ``read_enable``.
    """

    def __init__(self, *, depth: int, width: int, kind: MemoryKind = MemoryKind.AUTO) -> None:
        if not 1 <= depth <= 1 << ADDRESS_BITS:
            raise ValueError(f"depth must be 1 to 65536 rows, not {depth!r}")
        if width < 1:
            raise ValueError(f"width must be at least 1 bit, not {width!r}")
        self._depth, self._width, self._kind = depth, width, kind
        auto = kind is MemoryKind.AUTO
        address_bits = max(1, (depth - 1).bit_length())
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(address_bits),
                "write_data": In(width),
                "read_enable": In(1),
                "read_address": In(address_bits),
                "read_data": Out(width),
            },
            name=f"ram_{depth}x{width}" if auto else f"{kind.value}_ram_{depth}x{width}",
            parameters=(depth, width, kind),
        )

    @property
    def depth(self) -> int:
        return self._depth

    @property
    def width(self) -> int:
        return self._width

    def build(self) -> Module:
        m = Module()
        style = {} if self._kind is MemoryKind.AUTO else {"ram_style": self._kind.value}
        rows: Any = memory.Memory(shape=self._width, depth=self._depth, init=[], attrs=style)
        m.submodules.rows = rows
        write, read = rows.write_port(), rows.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
        ]
        return m


class InputBuffer(Shared):
    """A buffer that loads fill: for each lane and bank one memory for each beat of its word.

    With two banks, which the highest address bit tells apart, ``keep`` writes too: a bank that it
    writes takes no write of a load in that cycle.

    Parameters
    ----------
    target : Buffer
        Which of the loads' targets it is.
    depth : int
        Words.
    word_bits : int
        Bits of a word.
    lanes : int
        Words at each address, read together; 1 for all but the activations.
    signature : BufferWrite
        Of the loads.
    banks : int
        1 or 2.
    kind : MemoryKind
        Of its memories.

    Members
    -------
    write : In(signature)
    keep : In(KeepWrite(...))
        Of whole words; with two banks only.
    read : In(read_layout())
    words : Out(word_bits).array(lanes)
    """

    def __init__(
        self,
        *,
        target: Buffer,
        depth: int,
        word_bits: int,
        lanes: int,
        signature: BufferWrite,
        banks: int = 1,
        kind: MemoryKind = MemoryKind.AUTO,
    ) -> None:
        self._target, self._depth, self._word_bits = target, depth, word_bits
        self._lanes, self._write, self._banks, self._kind = lanes, signature, banks, kind
        bus = signature.data_bits, signature.slices, signature.target_bits
        self._kept_bits = -(-word_bits // signature.data_bits) * signature.data_bits
        super().__init__(
            {
                "write": In(signature),
                "read": In(read_layout()),
                "words": Out(word_bits).array(lanes),
            }
            | ({"keep": In(KeepWrite(word_bits=self._kept_bits))} if banks > 1 else {}),
            name=f"{target.name.lower()}_buffer",
            parameters=(target, depth, word_bits, lanes, *bus, banks, kind),
        )

    @classmethod
    def of(cls, accelerator: Accelerator, target: Buffer) -> InputBuffer:
        """Return the buffer of ``accelerator`` that is ``target``."""
        buffers = accelerator.buffers
        activation, kinds = accelerator.activation_word_bits, accelerator.memories
        depth, word_bits, kind = {
            Buffer.ACTIVATIONS: (buffers.activations, activation, kinds.activations),
            Buffer.WEIGHTS: (buffers.weights, accelerator.weight_word_bits, kinds.weights),
            Buffer.CONSTANTS: (buffers.constants, accelerator.constant_word_bits, kinds.constants),
            Buffer.RESIDUALS: (buffers.residuals, activation, kinds.residuals),
        }[target]
        return cls(
            target=target,
            depth=depth,
            word_bits=word_bits,
            lanes=accelerator.array.pixels if target is Buffer.ACTIVATIONS else 1,
            signature=BufferWrite.of(accelerator),
            banks=buffers.activation_banks if target is Buffer.ACTIVATIONS else 1,
            kind=kind,
        )

    @property
    def target(self) -> Buffer:
        return self._target

    @property
    def depth(self) -> int:
        return self._depth

    @property
    def word_bits(self) -> int:
        return self._word_bits

    @property
    def lanes(self) -> int:
        return self._lanes

    def build(self) -> Module:
        m = Module()
        size = self._depth // self._banks
        low = max(1, (size - 1).bit_length())
        banks = [self._bank(m, bank, size, low) for bank in range(self._banks)]
        if self._banks == 1:
            m.d.comb += [mine.eq(word) for mine, word in zip(self.words, banks[0], strict=True)]
            return m
        # The bank read last: its words stay.
        last = Signal()
        with m.If(self.read.enable):
            m.d.sync += last.eq(self.read.address[low])
        for mine, first, second in zip(self.words, *banks, strict=True):
            m.d.comb += mine.eq(Mux(last, second, first))
        return m

    def _bank(self, m: Module, bank: int, size: int, low: int) -> list[Value]:
        """Add the memories of ``bank``; return the word of each lane. ``low`` address bits."""
        beat_bits, name = self._write.data_bits, ""
        read, reads = self.read, Signal(name=f"reads_{bank}")
        write: Any = Signal(self._port, name=f"write_{bank}")
        loads = self.write.enable & (self.write.target == self._target.value)
        kept = Signal(name=f"kept_{bank}") if self._banks > 1 else None
        m.d.comb += reads.eq(read.enable)
        fields = ("lane", "address", "slice", "data")
        m.d.comb += [write[field].eq(getattr(self.write, field)) for field in fields]
        m.d.comb += write.enable.eq(loads)
        if kept is not None:
            name = f"bank_{bank}_"
            m.d.comb += [
                reads.eq(read.enable & (read.address[low] == bank)),
                write.enable.eq(loads & (self.write.address[low] == bank)),
            ]
            m.d.comb += kept.eq(self.keep.enable & (self.keep.address[low] == bank))
            with m.If(kept):
                m.d.comb += [
                    write.enable.eq(1),
                    write.lane.eq(self.keep.lane),
                    write.address.eq(self.keep.address),
                ]
        words: list[Value] = []
        for lane in range(self._lanes):
            beats = []
            for index, start in enumerate(range(0, self._word_bits, beat_bits)):
                width = min(beat_bits, self._word_bits - start)
                ram = Ram(depth=size, width=width, kind=self._kind)
                m.submodules[f"{name}lane_{lane}_beat_{index}"] = ram
                chosen, written = write.slice == index, write.data[:width]
                if kept is not None:
                    chosen |= kept
                    written = Mux(kept, self.keep.data[start : start + width], written)
                if self._lanes > 1:
                    chosen &= write.lane == lane
                m.d.comb += [
                    ram.write_enable.eq(write.enable & chosen),
                    ram.write_address.eq(write.address),
                    ram.write_data.eq(written),
                    ram.read_enable.eq(reads),
                    ram.read_address.eq(read.address),
                ]
                beats.append(ram.read_data)
            words.append(Cat(*beats))
        return words

    @property
    def _port(self) -> data.StructLayout:
        """What a bank takes in a cycle."""
        return data.StructLayout(
            {
                "enable": 1,
                "lane": 8,
                "address": ADDRESS_BITS,
                "slice": slice_bits(self._write.slices),
                "data": self._write.data_bits,
            }
        )


class OutputBuffer(Shared):
    """The buffer between post and store: written by lane groups, read by whole words.

    Parameters
    ----------
    accelerator : Accelerator

    Members
    -------
    write : In(output_write_layout(accelerator))
        ``codes`` go to the lanes of ``group`` of the word at ``address``, ``scales`` to theirs.
    read : In(OutputRead.of(accelerator))
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        super().__init__(
            {
                "write": In(output_write_layout(accelerator)),
                "read": In(OutputRead.of(accelerator)),
            },
            name="outputs_buffer",
            parameters=(
                accelerator.buffers.outputs,
                accelerator.memories.outputs,
                accelerator.activation_word_bits,
                accelerator.array.lanes,
                accelerator.post_lanes,
                accelerator.bus.data_bits,
            ),
        )

    @property
    def accelerator(self) -> Accelerator:
        return self._accelerator

    def build(self) -> Module:
        m = Module()
        accelerator = self._accelerator
        groups = []
        for group in range(accelerator.array.lanes // accelerator.post_lanes):
            ram = Ram(
                depth=accelerator.buffers.outputs,
                width=len(self.write.codes) + len(self.write.scales),
                kind=accelerator.memories.outputs,
            )
            m.submodules[f"group_{group}"] = ram
            m.d.comb += [
                ram.write_enable.eq(self.write.enable & (self.write.group == group)),
                ram.write_address.eq(self.write.address),
                ram.write_data.eq(Cat(self.write.codes, self.write.scales)),
                ram.read_enable.eq(self.read.enable),
                ram.read_address.eq(self.read.address),
            ]
            groups.append(ram.read_data)
        split = len(self.write.codes)
        word = Cat(*(group[:split] for group in groups), *(group[split:] for group in groups))
        padding = len(self.read.data) - len(word)
        m.d.comb += self.read.data.eq(Cat(word, Const(0, padding)) if padding else word)
        return m


def output_write_layout(accelerator: Accelerator) -> data.StructLayout:
    """Return the layout of a write of one lane group of one output word."""
    groups = accelerator.array.lanes // accelerator.post_lanes
    return data.StructLayout(
        {
            "enable": 1,
            "address": ADDRESS_BITS,
            "group": range(max(groups, 2)),
            "codes": accelerator.post_lanes * accelerator.array.activation_bits,
            "scales": accelerator.array.activation_scale_bits // groups,
        }
    )

"""A first-in first-out queue between two streams."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Shape, ShapeLike, Signal, Value
from amaranth.lib import memory, stream
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared


class Queue(Shared):
    """A queue of ``depth`` entries, one transfer a cycle on each side.

    An entry taken in cycle t is offered from t+1. A place freed in cycle t can be filled
    from t+1. Neither handshake depends on the other in the same cycle: ``o.valid`` and
    ``i.ready`` are registers.

    Parameters
    ----------
    shape : ShapeLike
        Shape of an entry.
    depth : int
        Entries, at least 1.

    Members
    -------
    i : In(stream.Signature(shape))
        Entries in.
    o : Out(stream.Signature(shape))
        Entries out, read from the memory without a register.

    Raises
    ------
    ValueError
        ``depth`` is below 1.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike, *, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        width = Shape.cast(shape).width
        self._width = width
        self._depth = depth
        super().__init__(
            {"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))},
            name=f"queue_w{width}_d{depth}",
            parameters=(width, depth),
        )

    @property
    def depth(self) -> int:
        return self._depth

    def build(self) -> Module:
        m = Module()
        rows = max(2, self._depth)
        store: memory.Memory
        m.submodules.rows = store = memory.Memory(shape=self._width, depth=rows, init=[])
        write = store.write_port()
        read = store.read_port(domain="comb")
        level = Signal(range(self._depth + 1))
        some = Signal()  # it is not 0
        free = Signal(init=1)  # it is below the depth
        push = Signal()
        pop = Signal()
        m.d.comb += [
            self.i.ready.eq(free),
            self.o.valid.eq(some),
            Value.cast(self.o.payload).eq(read.data),
            push.eq(self.i.valid & self.i.ready),
            pop.eq(self.o.valid & self.o.ready),
            write.data.eq(Value.cast(self.i.payload)),
            write.en.eq(push),
        ]

        def following(pointer: Value) -> Value:
            return Mux(pointer == rows - 1, 0, pointer + 1)

        with m.If(push):
            m.d.sync += write.addr.eq(following(write.addr))
        with m.If(pop):
            m.d.sync += read.addr.eq(following(read.addr))
        # Without a carry chain: few bits, which follow from the handshake in one step.
        turned = [Mux(push, level[:bit].all(), ~level[:bit].any()) for bit in range(1, len(level))]
        with m.If(push != pop):
            m.d.sync += [
                level.eq(level ^ Cat(Const(1), turned)),
                some.eq(push | (level != 1)),
                free.eq(~push | (level != self._depth - 1)),
            ]
        return m


class RegisterQueue(Shared):
    """A queue of few, narrow entries in registers; the first is always the same register.

    As :class:`Queue`, but what it offers comes from no memory.

    Parameters
    ----------
    width : int
        Bits of an entry, at least 1.
    depth : int
        Entries, at least 1.

    Members
    -------
    i : In(stream.Signature(width))
        Entries in.
    o : Out(stream.Signature(width))
        Entries out.

    Raises
    ------
    ValueError
        ``width`` or ``depth`` is below 1.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, width: int, *, depth: int) -> None:
        for name, value in (("width", width), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self._width, self._depth = width, depth
        super().__init__(
            {"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))},
            name=f"register_queue_w{width}_d{depth}",
            parameters=(width, depth),
        )

    def build(self) -> Module:
        m = Module()
        rows = [Signal(self._width, name=f"row_{n}", reset_less=True) for n in range(self._depth)]
        there = [Signal(name=f"there_{n}") for n in range(self._depth)]
        push, pop = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~there[-1]),
            self.o.valid.eq(there[0]),
            self.o.payload.eq(rows[0]),
            push.eq(self.i.valid & self.i.ready),
            pop.eq(self.o.valid & self.o.ready),
        ]
        for n, (row, full) in enumerate(zip(rows, there, strict=True)):
            before = there[n - 1] if n else Const(1)
            above, following = (
                (there[n + 1], rows[n + 1]) if n + 1 < self._depth else (Const(0), self.i.payload)
            )
            with m.If(pop):
                m.d.sync += full.eq(above | (full & push))
                m.d.sync += row.eq(Mux(above, following, self.i.payload))
            with m.Elif(push & ~full):
                m.d.sync += [full.eq(before), row.eq(self.i.payload)]
        return m

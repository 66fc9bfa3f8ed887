"""One wide AXI master as several narrow ones, with memory striped over them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.rtl.axi.bus import Axi4, Response, size_code
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared

SKEW_BEATS = 16
"""Read beats by which a port may be ahead of the slowest before it has to wait."""

_REQUEST = ("id", "len", "burst", "lock", "cache", "prot", "qos")


class Join(Shared):
    """Several streams as one: an entry is offered when all have one, those of all side by side.

    No latency: entries that come in the same cycle are offered in it. What comes early waits in
    a queue; every ``ready`` of an input is a register's.

    Parameters
    ----------
    shape : ShapeLike
        Shape of an entry of one stream.
    ports : int
        Streams, at least 2.
    depth : int
        Entries by which one may be ahead, at least 1.

    Members
    -------
    i : In(stream.Signature(shape)).array(ports)
        The streams.
    o : Out(stream.Signature(data.ArrayLayout(shape, ports)))
        All of them.
    """

    i: Any
    o: stream.Interface

    def __init__(self, shape: ShapeLike, *, ports: int, depth: int) -> None:
        self._shape, self._ports, self._depth = shape, ports, depth
        width = data.ArrayLayout(shape, ports).size // ports
        super().__init__(
            {
                "i": In(stream.Signature(shape)).array(ports),
                "o": Out(stream.Signature(data.ArrayLayout(shape, ports))),
            },
            name=f"join_w{width}_p{ports}_d{depth}",
            parameters=(width, ports, depth),
        )

    def build(self) -> Module:
        m = Module()
        there = Signal(self._ports)
        taken = Signal()
        m.d.comb += [self.o.valid.eq(there.all()), taken.eq(self.o.valid & self.o.ready)]
        for index in range(self._ports):
            early = Queue(self._shape, depth=self._depth)
            m.submodules[f"early_{index}"] = early
            mine = self.i[index]
            m.d.comb += [
                mine.ready.eq(early.i.ready),
                there[index].eq(early.o.valid | mine.valid),
                Value.cast(self.o.p[index]).eq(
                    Mux(early.o.valid, Value.cast(early.o.payload), Value.cast(mine.payload))
                ),
                early.o.ready.eq(taken),
                early.i.valid.eq(mine.valid & (early.o.valid | ~taken)),
                Value.cast(early.i.payload).eq(Value.cast(mine.payload)),
            ]
        return m


class Stripe(Shared):
    """The ports of an engine whose memory is striped: slice i of every beat lies behind port i.

    An engine's address a is address ``bases[i] + a / ports`` of port i. Each port sees the same
    bursts, of as many beats. A request, or a beat of data, counts as taken when all ports have
    taken it, each in its own time; the next one is offered to none before. A beat of data that
    is read, or a response, is given on when all ports have one. Ports that answer in the same
    cycles add no latency. Of responses that differ the first port's that is an error is given on.

    Whether what a port offers is valid depends on none of its inputs in that cycle, and each
    ``rready`` and ``bready`` is a register's, provided the engine's own keep to that.

    Parameters
    ----------
    bus : Bus
        Of 2 or 4 ports.

    Members
    -------
    engine : In(Axi4(...))
        The engine's port, ``data_bits`` wide.
    bases : In(address_bits).array(ports)
        Where each stripe begins, multiples of 4 KiB; constant while bursts are in flight.
    ports : Out(Axi4(...)).array(ports)
        The ports, ``port_bits`` wide.
    """

    engine: Any
    bases: Any
    ports: Any

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        wide = Axi4(address_bits=bus.address_bits, data_bits=bus.data_bits)
        narrow = Axi4(address_bits=bus.address_bits, data_bits=bus.port_bits)
        super().__init__(
            {
                "engine": In(wide),
                "bases": In(bus.address_bits).array(bus.ports),
                "ports": Out(narrow).array(bus.ports),
            },
            name=f"stripe_p{bus.ports}_a{bus.address_bits}_d{bus.data_bits}",
            parameters=(bus.ports, bus.address_bits, bus.data_bits),
        )

    def build(self) -> Module:
        m = Module()
        for prefix in ("ar", "aw"):
            self._share(m, prefix)
            self._requests(m, prefix)
        self._share(m, "w")
        self._write_data(m)
        self._read_data(m)
        self._responses(m)
        return m

    def _share(self, m: Module, prefix: str) -> None:
        """Offer what is on a channel of the engine to every port until that has taken it."""
        engine, ports = self.engine, self._bus.ports
        taken = Signal(ports, name=f"{prefix}_taken")
        ready = Cat(getattr(port, f"{prefix}ready") for port in self.ports)
        valid = getattr(engine, f"{prefix}valid")
        done = getattr(engine, f"{prefix}ready")
        m.d.comb += done.eq((taken | ready).all())
        for index, port in enumerate(self.ports):
            m.d.comb += getattr(port, f"{prefix}valid").eq(valid & ~taken[index])
        with m.If(valid):
            m.d.sync += taken.eq(Mux(done, 0, taken | ready))

    def _requests(self, m: Module, prefix: str) -> None:
        shift = self._bus.ports.bit_length() - 1
        for port, base in zip(self.ports, self.bases, strict=True):
            m.d.comb += [
                getattr(port, f"{prefix}addr").eq(
                    base + (getattr(self.engine, f"{prefix}addr") >> shift)
                ),
                getattr(port, f"{prefix}size").eq(size_code(self._bus.port_bits)),
                *(
                    getattr(port, prefix + name).eq(getattr(self.engine, prefix + name))
                    for name in _REQUEST
                ),
            ]

    def _write_data(self, m: Module) -> None:
        bits, size = self._bus.port_bits, self._bus.port_bytes
        for index, port in enumerate(self.ports):
            m.d.comb += [
                port.wdata.eq(self.engine.wdata.word_select(index, bits)),
                port.wstrb.eq(self.engine.wstrb.word_select(index, size)),
                port.wlast.eq(self.engine.wlast),
            ]

    def _read_data(self, m: Module) -> None:
        beat = data.StructLayout({"data": self._bus.port_bits, "resp": Response, "last": 1})
        m.submodules.read_data = join = Join(beat, ports=self._bus.ports, depth=SKEW_BEATS)
        for port, mine in zip(self.ports, join.i, strict=True):
            m.d.comb += [
                mine.valid.eq(port.rvalid),
                mine.p.data.eq(port.rdata),
                mine.p.resp.eq(port.rresp),
                mine.p.last.eq(port.rlast),
                port.rready.eq(mine.ready),
            ]
        beats = [join.o.p[index] for index in range(self._bus.ports)]
        m.d.comb += [
            self.engine.rvalid.eq(join.o.valid),
            join.o.ready.eq(self.engine.rready),
            self.engine.rdata.eq(Cat(part.data for part in beats)),
            self.engine.rlast.eq(beats[0].last),
            self.engine.rresp.eq(_worst([part.resp for part in beats])),
        ]

    def _responses(self, m: Module) -> None:
        m.submodules.responses = join = Join(Response, ports=self._bus.ports, depth=1)
        for port, mine in zip(self.ports, join.i, strict=True):
            m.d.comb += [
                mine.valid.eq(port.bvalid),
                mine.payload.eq(port.bresp),
                port.bready.eq(mine.ready),
            ]
        m.d.comb += [
            self.engine.bvalid.eq(join.o.valid),
            join.o.ready.eq(self.engine.bready),
            self.engine.bresp.eq(_worst([join.o.p[index] for index in range(self._bus.ports)])),
        ]


def _worst(responses: list[Any]) -> Value:
    """Return the first of ``responses`` that is an error, else the last."""
    found = Value.cast(responses[-1])
    for response in reversed(responses[:-1]):
        code = Value.cast(response)
        found = Mux(code == Response.OKAY.value, found, code)
    return found

"""A memory behind an AXI4 port in the Amaranth simulator, which checks the protocol."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

REQUEST = ("addr", "len", "size", "burst", "cache", "prot", "lock", "qos", "id")


@dataclass
class Request:
    """A burst that was handshaken in ``cycle``; its data is ready from ``start``."""

    address: int
    beats: int
    cycle: int
    start: int
    done: int = 0


@dataclass
class AxiMemory:
    """Bytes, with the memory model of docs/architecture.md at one beat a cycle, and random stalls.

    ``bad`` holds beat addresses that answer with SLVERR. The logs hold cycles of handshakes.
    """

    data_bits: int
    latency: int = 4
    outstanding: int = 64
    stall: float = 0.0
    seed: int = 1
    bad: set[int] = field(default_factory=set)
    contents: dict[int, int] = field(default_factory=dict)
    reads: list[Request] = field(default_factory=list)
    writes: list[Request] = field(default_factory=list)
    read_beats: list[int] = field(default_factory=list)
    write_beats: list[int] = field(default_factory=list)
    responses: list[int] = field(default_factory=list)

    @property
    def beat_bytes(self) -> int:
        return self.data_bits // 8

    def load(self, address: int, content: bytes) -> None:
        """Put ``content`` at ``address``."""
        for index, byte in enumerate(content):
            self.contents[address + index] = byte

    def dump(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes from ``address``; bytes never written are 0xEE."""
        return bytes(self.contents.get(address + index, 0xEE) for index in range(size))

    def _request(self, values: dict[str, int], cycle: int) -> Request:
        beats = values["len"] + 1
        address = values["addr"]
        assert values["size"] == self.beat_bytes.bit_length() - 1
        assert (values["burst"], values["cache"], values["prot"]) == (1, 0b0011, 0)
        assert (values["lock"], values["qos"], values["id"]) == (0, 0, 0)
        assert address % self.beat_bytes == 0, f"unaligned burst at {address:#x}"
        last = address + beats * self.beat_bytes - 1
        assert address // 4096 == last // 4096, f"burst at {address:#x} crosses 4 KiB"
        return Request(address=address, beats=beats, cycle=cycle, start=cycle + self.latency)

    async def serve_reads(self, ctx, axi) -> None:
        """Answer AR with R, for ever."""
        rng = random.Random(self.seed)
        queue: deque[Request] = deque()
        signals = [getattr(axi, "ar" + name) for name in REQUEST]
        cycle, offered, held = 0, False, None
        while True:
            ready = rng.random() >= self.stall and len(queue) < self.outstanding
            ctx.set(axi.arready, ready)
            head = queue[0] if queue and queue[0].start <= cycle else None
            offered = head is not None and (offered or rng.random() >= self.stall)
            if offered:
                place = head.address + head.done * self.beat_bytes
                ctx.set(axi.rdata, int.from_bytes(self.dump(place, self.beat_bytes), "little"))
                ctx.set(axi.rresp, 2 if place in self.bad else 0)
                ctx.set(axi.rlast, head.done == head.beats - 1)
            ctx.set(axi.rvalid, offered)
            _, _, valid, rready, *values = await ctx.tick().sample(
                axi.arvalid, axi.rready, *signals
            )
            numbers = dict(zip(REQUEST, map(_number, values), strict=True))
            assert held is None or (valid and held == numbers), f"AR changed in cycle {cycle}"
            held = numbers if valid and not ready else None
            if offered and rready:
                self.read_beats.append(cycle)
                head.done += 1
                offered = False
                if head.done == head.beats:
                    queue.popleft()
            if valid and ready:
                request = self._request(numbers, cycle)
                queue.append(request)
                self.reads.append(request)
            cycle += 1

    async def serve_writes(self, ctx, axi) -> None:
        """Take AW and W, answer with B, for ever."""
        rng = random.Random(self.seed + 1)
        queue: deque[Request] = deque()
        answers: deque[tuple[int, int]] = deque()
        signals = [getattr(axi, "aw" + name) for name in REQUEST]
        data_signals = [axi.wdata, axi.wstrb, axi.wlast]
        cycle, offered, held, held_data = 0, False, None, None
        while True:
            ready = rng.random() >= self.stall and len(queue) + len(answers) < self.outstanding
            data_ready = bool(queue) and rng.random() >= self.stall
            ctx.set(axi.awready, ready)
            ctx.set(axi.wready, data_ready)
            due = bool(answers) and answers[0][0] <= cycle
            offered = due and (offered or rng.random() >= self.stall)
            ctx.set(axi.bvalid, offered)
            ctx.set(axi.bresp, answers[0][1] if offered else 0)
            _, _, valid, data_valid, bready, *values = await ctx.tick().sample(
                axi.awvalid, axi.wvalid, axi.bready, *signals, *data_signals
            )
            numbers = dict(zip(REQUEST, map(_number, values[: len(REQUEST)]), strict=True))
            beat = tuple(map(_number, values[len(REQUEST) :]))
            assert held is None or (valid and held == numbers), f"AW changed in cycle {cycle}"
            assert held_data is None or (data_valid and held_data == beat), f"W in cycle {cycle}"
            held = numbers if valid and not ready else None
            held_data = beat if data_valid and not data_ready else None
            if offered and bready:
                self.responses.append(cycle)
                answers.popleft()
                offered = False
            if data_valid and data_ready:
                self._write(queue, answers, beat, cycle)
            if valid and ready:
                request = self._request(numbers, cycle)
                queue.append(request)
                self.writes.append(request)
            cycle += 1

    def _write(self, queue, answers, beat, cycle: int) -> None:
        head = queue[0]
        place = head.address + head.done * self.beat_bytes
        content, strobe, last = beat
        assert strobe == (1 << self.beat_bytes) - 1
        self.load(place, content.to_bytes(self.beat_bytes, "little"))
        self.write_beats.append(cycle)
        head.done += 1
        assert last == (head.done == head.beats), f"WLAST in cycle {cycle}"
        if last:
            queue.popleft()
            places = range(head.address, place + 1, self.beat_bytes)
            bad = any(address in self.bad for address in places)
            answers.append((cycle + self.latency, 2 if bad else 0))


def _number(value) -> int:
    return getattr(value, "value", value)


async def lite_write(ctx, axi, address: int, value: int, *, strobe=15, order=0) -> int:
    """Write a register; ``order`` cycles of AW before (negative: after) W. Return the response."""
    ctx.set(axi.bready, 0)
    for channel, fields in (
        ("aw", {"awaddr": address, "awprot": 0}),
        ("w", {"wdata": value, "wstrb": strobe}),
    )[:: -1 if order < 0 else 1]:
        for name, number in fields.items():
            ctx.set(getattr(axi, name), number)
        valid, ready = getattr(axi, channel + "valid"), getattr(axi, channel + "ready")
        ctx.set(valid, 1)
        await ctx.tick().until(ready)
        ctx.set(valid, 0)
        await ctx.tick().repeat(abs(order)) if order else None
    ctx.set(axi.bready, 1)
    response = _number((await ctx.tick().sample(axi.bresp).until(axi.bvalid))[0])
    ctx.set(axi.bready, 0)
    return response


async def lite_read(ctx, axi, address: int, *, wait=0) -> int:
    """Read a register, R ready ``wait`` cycles after AR's handshake. Return its value."""
    ctx.set(axi.araddr, address)
    ctx.set(axi.arvalid, 1)
    await ctx.tick().until(axi.arready)
    ctx.set(axi.arvalid, 0)
    if wait:
        await ctx.tick().repeat(wait)
    ctx.set(axi.rready, 1)
    value, response = await ctx.tick().sample(axi.rdata, axi.rresp).until(axi.rvalid)
    ctx.set(axi.rready, 0)
    assert _number(response) == 0
    return _number(value)

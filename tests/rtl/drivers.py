"""Drivers for streams and flows in the Amaranth simulator, with random stalls and rule checks."""

from __future__ import annotations

import random
from collections.abc import Callable

from amaranth.hdl import Elaboratable, Value
from amaranth.lib import data
from amaranth.sim import Simulator

STALLS = [(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.4, 0.4)]
"""Probability of a stall at the source and at the sink."""

LIMIT = 20_000
"""Cycles after which a simulation is taken to hang."""


def plain(value: object) -> object:
    """Turn what the simulator gives into integers and dictionaries of them."""
    if isinstance(value, data.Const):
        fields = value.shape().members  # type: ignore[attr-defined]
        return {name: plain(value[name]) for name in fields}
    return getattr(value, "value", value)


class Log(list):
    """(cycle, payload) of the transfers of a stream."""

    @property
    def cycles(self) -> list[int]:
        return [cycle for cycle, _ in self]

    @property
    def payloads(self) -> list:
        return [payload for _, payload in self]


async def put(ctx, stream, items, *, stall=0.0, seed=1, log: Log | None = None) -> None:
    """Offer each of ``items`` (integers: raw bits), after idle cycles of probability ``stall``."""
    rng = random.Random(seed)
    cycle = 0
    for item in items:
        while rng.random() < stall:
            await ctx.tick()
            cycle += 1
        raw = isinstance(item, int)
        ctx.set(Value.cast(stream.payload) if raw else stream.payload, item)
        ctx.set(stream.valid, 1)
        ready = False
        while not ready:
            *_, ready = await ctx.tick().sample(stream.ready)
            cycle += 1
        if log is not None:
            log.append((cycle - 1, item))
        ctx.set(stream.valid, 0)


async def take(ctx, stream, log: Log, *, stall=0.0, seed=2) -> None:
    """Take payloads for ever; check that an offer stays until it is taken."""
    rng = random.Random(seed)
    cycle = 0
    held = None
    while True:
        ready = rng.random() >= stall
        ctx.set(stream.ready, ready)
        *_, valid, payload = await ctx.tick().sample(stream.valid, Value.cast(stream.payload))
        if valid and isinstance(stream.payload, data.View):
            payload = plain(stream.payload.shape().from_bits(payload))
        if held is not None:
            assert valid, f"valid fell before ready in cycle {cycle}"
            assert payload == held, f"payload changed before ready in cycle {cycle}"
        held = payload if valid and not ready else None
        if valid and ready:
            log.append((cycle, payload))
        cycle += 1


async def watch(ctx, signals, log: Log, *, when=None) -> None:
    """Log the values of ``signals`` in each cycle, or in those in which ``when`` is 1."""
    cycle = 0
    condition = signals[0] if when is None else when
    while True:
        _, _, chosen, *values = await ctx.tick().sample(condition, *signals)
        if when is None or chosen:
            log.append((cycle, tuple(plain(value) for value in values)))
        cycle += 1


def simulate(
    dut: Elaboratable, *mains: Callable, background: tuple[Callable, ...] = (), limit: int = LIMIT
) -> None:
    """Run until all of ``mains`` have returned; ``background`` runs beside them."""

    async def watchdog(ctx) -> None:
        for _ in range(limit):
            await ctx.tick()
        raise TimeoutError(f"no end after {limit} cycles")

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in background:
        sim.add_testbench(_coroutine(bench), background=True)
    sim.add_testbench(watchdog, background=True)
    for bench in mains:
        sim.add_testbench(bench)
    sim.run()


def _coroutine(bench: Callable) -> Callable:
    """A lambda that calls a bench is no coroutine function; this is."""

    async def run(ctx) -> None:
        await bench(ctx)

    return run


async def settle(ctx, log: Log, count: int, extra: int = 10) -> None:
    """Wait until ``log`` has ``count`` entries, and ``extra`` cycles more."""
    while len(log) < count:
        await ctx.tick()
    await ctx.tick().repeat(extra)


def transfer_runs(transfer) -> list[tuple[int, int, int]]:
    """(memory address, buffer address, i3) of each run of a transfer, in order."""
    return [
        (
            transfer.address + i1 * transfer.s1 + i2 * transfer.s2 + i3 * transfer.s3,
            transfer.buffer_address + i1 * transfer.d1 + i2 * transfer.d2 + i3 * transfer.d3,
            i3,
        )
        for i3 in range(transfer.n3)
        for i2 in range(transfer.n2)
        for i1 in range(transfer.n1)
    ]


def split(address: int, beats: int, beat_bytes: int, longest: int) -> list[tuple[int, int]]:
    """(address, beats) of the bursts of a run, by walking it beat by beat."""
    bursts: list[tuple[int, int]] = []
    for index in range(beats):
        place = address + index * beat_bytes
        if bursts and place % 4096 and bursts[-1][1] < longest:
            bursts[-1] = (bursts[-1][0], bursts[-1][1] + 1)
        else:
            bursts.append((place, 1))
    return bursts

# amaranth: UnusedElaboratable=no
"""Control against the table of its states, with commands and errors at random."""

from __future__ import annotations

import random

import pytest

from celosia.rtl.control import Control, error_ports
from celosia.rtl.registers import CAUSES, Cause

from .drivers import simulate

STATUS = {"idle": 1, "done": 2, "error": 4, "drain": 8, "run": 8}
INPUTS = ("start_command", "clear_command", "finished", "quiet")


def step(
    state: str, leads: str, given: dict[str, int], raised: list[Cause], *, still: bool
) -> tuple[str, str]:
    """Return the next state, and where a drain then leads, as documented.

    ``still``: a drain was quiet in the cycle before.
    """
    start, clear, finished, _ = (given[name] for name in INPUTS)
    if state in ("idle", "done") and start and not clear:
        return "drain", "run"
    if state in ("done", "error") and clear:
        return "idle", leads
    if state == "run" and raised:
        return "drain", "error"
    if state == "run" and clear:
        return "drain", "idle"
    if state == "run" and finished:
        return "done", leads
    if state == "drain":
        leads = "idle" if clear else leads
        return (leads if still else "drain"), leads
    return state, leads


@pytest.mark.parametrize("seed", range(4))
def test_states_are_those_documented(seed):
    rng = random.Random(seed)
    dut = Control(address_bits=16)
    names = error_ports(CAUSES)
    seen = set()

    async def bench(ctx):
        state, leads, began, still = "idle", "idle", False, False
        cause, address = Cause.NONE, 0
        for _ in range(3000):
            chance = {"start_command": 0.3, "clear_command": 0.1, "finished": 0.2, "quiet": 0.5}
            given = {name: int(rng.random() < chance[name]) for name in INPUTS}
            reports = {name: (rng.random() < 0.05, rng.getrandbits(16)) for name in names}
            for name, value in given.items():
                ctx.set(getattr(dut, name), value)
            for name, (is_raised, place) in reports.items():
                ctx.set(getattr(dut, name).raised, is_raised)
                ctx.set(getattr(dut, name).address, place)
            raised = [Cause[name.upper()] for name, (is_raised, _) in reports.items() if is_raised]
            renews = state == "drain" and leads == "run"
            assert ctx.get(dut.status) == STATUS[state]
            assert ctx.get(dut.running) == (state == "run")
            assert ctx.get(dut.stop) == (state != "run")
            assert ctx.get(dut.clear_counters) == renews
            assert ctx.get(dut.start) == began
            assert (ctx.get(dut.cause), ctx.get(dut.error_address)) == (cause, address)
            following, leads = step(state, leads, given, raised, still=still)
            seen.add((state, following))
            began = (state, following) == ("drain", "run")
            if renews:
                cause, address = Cause.NONE, 0
            if state == "run" and raised:
                cause = min(raised)
                address = reports[cause.name.lower()][1]
            still = state == "drain" and bool(given["quiet"]) and not still
            assert ctx.get(dut.reset_units) == still
            state = following
            await ctx.tick()

    simulate(dut, bench)
    ways = {("drain", way) for way in ("run", "error", "idle")}
    ways |= {("idle", "drain"), ("run", "done"), ("run", "drain"), ("done", "drain")}
    assert ways | {("done", "idle"), ("error", "idle")} <= seen

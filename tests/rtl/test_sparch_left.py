"""The reader of work records, against a program's records and a model of its beats."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.descriptors import Round
from celosia.dataflow.sparch.presets import TINY
from celosia.dataflow.sparch.records import work_fields
from celosia.dataflow.sparch.values import to_codes
from celosia.dataflow.sparch.work import FIELDS, Follows
from celosia.models.random_sparse import Pattern, random_matrix
from celosia.rtl.sparch.left import RecordReader

from .drivers import simulate

SEED = 22
ENGINE = replace(TINY, bus=replace(TINY.bus, burst_beats=4))


def rounds():
    """Yield each round's descriptor, its records as integers, where they end, their beats."""
    matrix = random_matrix(
        (60, 60), 700, np.random.default_rng(SEED), pattern=Pattern.POWER_LAW, longest=30
    )
    program = compile_product(matrix, matrix, ENGINE)
    codes = to_codes(program.plan.left.values, ENGINE.elements.bits)
    made = [each for each in program.descriptors if isinstance(each, Round)]
    for each, placed in zip(made, program.plan.records, strict=True):
        fields = work_fields(placed, codes, ENGINE.right_lanes)
        said = dict(zip(FIELDS, [field.tolist() for field in fields], strict=True))
        records = [
            dict(zip(said, values, strict=True)) for values in zip(*said.values(), strict=True)
        ]
        lies = program.image[each.left :].reshape(-1, 16)[: each.beats]
        beats = [int.from_bytes(beat.tobytes(), "little") for beat in lies]
        yield each, records, placed.ends.tolist(), beats


def expected_read(most, at, ends, held, waits):
    """How many of the records from ``at`` on can be read; ``held``: where the beat held ends."""
    count = 0
    while held is not None and count < most and at + count < len(ends):
        if count and ends[at + count - 1] >= held:
            break
        if ends[at + count] > held and not waits:
            break
        count += 1
    return count


def said_by(ctx, record, before):
    """What a record shown says, with row and value from that of its leaf ``before``."""
    said = {name: int(ctx.get(getattr(record, name))) for name in FIELDS}
    follows, last = ctx.get(record.follows), before.get(said["leaf"])
    if follows == Follows.SAME:
        said["value"] = last["value"]
    if follows != Follows.ROW:
        steps = {Follows.SAME: 0, Follows.NEXT: 1, Follows.SKIP: said["row"]}
        said["row"] = last["row"] + steps[Follows(follows)]
    return said


@pytest.mark.parametrize("most", [1, 2, 4])
def test_records_are_read_as_the_contract_says(most):
    engine = replace(ENGINE, right=replace(ENGINE.right, groups=most))
    dut, rng = RecordReader(engine), random.Random(SEED)
    seen = set()

    async def a_round(ctx, each, records, ends, beats):
        ctx.set(dut.address, each.left)
        ctx.set(dut.records, each.records)
        ctx.set(dut.run_beats, each.beats)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        # Beats that came, in the queue, in registers, held; records read, and in the cycle before.
        at, asked, come, queued, waits, popped, held, last = 0, 0, 0, 0, 0, 0, None, 0
        before = {}
        while at < len(records) or last:
            assert ctx.get(dut.shown) == last
            for index in range(last):
                said = said_by(ctx, dut.o[index], before)
                assert said == records[at - last + index]
                before[said["leaf"]] = said
            assert not ctx.get(dut.corrupt)
            ctx.set(dut.bursts.ready, rng.random() < 0.7)
            sends = come < asked and rng.random() < 0.6
            ctx.set(dut.beats.valid, sends)
            ctx.set(dut.beats.payload, beats[come] if sends else 0)
            can = rng.random() < 0.7
            ctx.set(dut.can, can)
            took = expected_read(most, at, ends, held, waits) if can else 0
            assert ctx.get(dut.reads) == (took != 0)
            seen.add(took)
            if ctx.get(dut.bursts.valid) and ctx.get(dut.bursts.ready):
                assert ctx.get(dut.bursts.p.address) == each.left + 16 * asked
                asked += ctx.get(dut.bursts.p.beats)
                assert asked - come + queued <= 2 * ENGINE.bus.burst_beats
            left, last = at < len(records), took
            at += took
            final = took and at == len(records)
            spills = took and ends[at - 1] > held
            leaves_it = took and (ends[at - 1] >= held or final)
            pops = waits and (leaves_it and (spills or not final) if held is not None else left)
            moves = queued > 0 and waits < 2
            if leaves_it or held is None:
                popped += bool(pops)
                held = popped * ENGINE.beat_grains if pops and not final else None
            waits += moves - bool(pops)
            queued += sends - moves
            come += sends
            await ctx.tick()
        ctx.set(dut.can, 0)
        await ctx.tick()
        assert ctx.get(dut.finished)
        assert come == asked == each.beats

    async def bench(ctx):
        for each in rounds():
            await a_round(ctx, *each)

    simulate(dut, bench)
    assert seen == set(range(most + 1))

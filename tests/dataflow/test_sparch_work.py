"""Work records in memory, against the words of ``docs/sparch.md``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.sparch.presets import PAPER, TINY
from celosia.dataflow.sparch.work import left_beats, pack_work, record_ends, unpack_work

SEED = 21


def written(records, engine):
    """The grains of ``records``, tuples of fields in order, bit by bit."""
    work, before, text = engine.work, {}, ""

    def part(value, bits):
        return f"{value:0{-(-bits // 16) * 16}b}"[::-1]

    for value, row, leaf, slot, first, count, fetches, last, address in records:
        step = row - before[leaf] if leaf in before else 1 << 16
        follows = step if step < 2 else 2 if step < 1 << 16 else 3
        head = f"{follows:02b}"[::-1] + f"{last}{fetches}"
        for name, field in (("leaf", leaf), ("slot", slot), ("first", first), ("count", count)):
            head += f"{field:0{getattr(work, name)}b}"[::-1]
        text += head + "0" * (-len(head) % 16)
        text += part(value, work.value) if follows else ""
        text += {2: part(step, 16), 3: part(row, work.row)}.get(follows, "")
        text += part(address, 32) if fetches else ""
        before[leaf] = row
    grains = len(text) // 16
    text += "0" * (-len(text) % engine.bus.data_bits)
    memory = [int(text[at : at + 8][::-1], 2) for at in range(0, len(text), 8)]
    return np.array(memory, np.uint8), grains


def random_records(rng, engine, count):
    """Rows rise in a leaf, by steps of all kinds; a row that stays keeps its value."""
    work, rows, values, records = engine.work, {}, {}, []
    most = (1 << work.row) - 1
    for _ in range(count):
        leaf = int(rng.integers(engine.tree.ways))
        step = int(rng.choice([0, 1, 1, 2, 900, (1 << 16) - 1, 1 << 16]))
        row = min(most, rows.get(leaf, -1) + step) if leaf in rows else int(rng.integers(9))
        if row != rows.get(leaf):
            values[leaf] = int(rng.integers(1 << work.value))
        rows[leaf] = row
        fetches = int(rng.integers(2))
        fields = [int(rng.integers(1 << width)) for width in (work.slot, work.first, work.count)]
        address = int(rng.integers(1 << 32)) if fetches else 0
        last = int(rng.integers(2))
        records.append((values[leaf], row, leaf, *fields, fetches, last, address))
    return records


@pytest.mark.parametrize("engine", [TINY, PAPER], ids=lambda engine: engine.name)
def test_records_lie_in_grains(engine):
    rng = np.random.default_rng(SEED)
    for count in (1, 2, 7, 300):
        records = random_records(rng, engine, count)
        fields = [np.array(field, np.uint64) for field in zip(*records, strict=True)]
        memory, grains = written(records, engine)
        assert np.array_equal(pack_work(fields, engine), memory)
        assert np.array_equal(unpack_work(memory, count, engine), fields)
        _, row, leaf, *_, fetches, _, _ = (field.astype(np.int64) for field in fields)
        ends = record_ends(row, leaf, fetches, engine)
        assert ends[-1] == grains
        assert left_beats(ends, engine) * engine.bus.data_bytes == len(memory)
        with pytest.raises(ValueError, match=f"{count} records end in grain"):
            unpack_work(np.append(memory, np.zeros(64, np.uint8)), count, engine)
        with pytest.raises(ValueError, match="records end in grain -1"):
            unpack_work(memory, count + 64, engine)


def test_no_records_have_no_beats():
    nothing = np.zeros(0, np.int64)
    assert left_beats(record_ends(nothing, nothing, nothing, TINY), TINY) == 0
    assert len(pack_work([nothing] * 9, TINY)) == 0


def test_a_record_must_fit_a_beat():
    with pytest.raises(ValueError, match="a work record has 144 bits and must fit a beat of 128"):
        replace(
            TINY,
            elements=replace(TINY.elements, bits=32, accumulator=64, index_bits=31),
            right=replace(TINY.right, lines=4096, line_beats=64),
            tree=replace(TINY.tree, ways=64, leaf_fifo=256),
        )

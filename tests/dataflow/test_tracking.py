from __future__ import annotations

import numpy as np
import pytest

from celosia.dataflow.tracking import BufferTracker, Slots, TensorTracker


@pytest.mark.parametrize("seed", range(5))
def test_buffer_against_a_word_by_word_record(seed: int) -> None:
    random = np.random.default_rng(seed)
    tracker, depth = BufferTracker(40), 40
    writer = np.full(depth, -1)
    readers: list[set[int]] = [set() for _ in range(depth)]
    for index in range(300):
        start = int(random.integers(0, depth))
        stop = int(random.integers(start + 1, depth + 1))
        if random.random() < 0.5:
            got = tracker.read(start, stop, index)
            assert got == {int(w) for w in writer[start:stop] if w >= 0}
            for word in range(start, stop):
                readers[word].add(index)
        else:
            words = range(start, stop)
            known = [max({int(writer[w])} | readers[w]) for w in words if writer[w] >= 0]
            got = tracker.write(start, stop, index)
            # Reads of words never written are no dependency; others may be rounded up.
            assert max(got, default=-1) >= max(known, default=-1)
            writer[start:stop] = index
            for word in words:
                readers[word] = set()
            assert tracker.last_use(start, stop) == index


def test_slots_take_the_oldest() -> None:
    tracker = BufferTracker(10)
    slots = Slots(tracker, 3, 3)
    assert slots.find("a") is None
    for index, key in enumerate("abc"):
        start = slots.take(key, 3)
        tracker.write(start, start + 3, index)
        assert slots.find(key) == start == 3 * index
    tracker.read(0, 3, 3)
    assert slots.take("d", 3) == 3
    assert slots.find("b") is None
    assert slots.find("a") == 0


def test_alternate_steps_take_alternate_halves() -> None:
    tracker = BufferTracker(20)
    assert Slots(tracker, 2, 5, high=True).take(0, 1) == 10
    assert Slots(tracker, 2, 6, high=True).take(0, 1) == 0
    assert Slots(tracker, 2, 5).take(0, 1) == 0


def test_held_slots_are_not_taken() -> None:
    tracker = BufferTracker(4)
    slots = Slots(tracker, 2, 2)
    slots.take("a", 2, hold=True)
    tracker.write(2, 4, 7)
    assert slots.take("b", 2) == 2
    assert slots.take("c", 2) == 2
    slots.release("a")
    assert slots.find("a") is None
    assert slots.take("d", 2) == 0


@pytest.mark.parametrize("seed", range(4))
def test_slots_take_what_a_look_at_all_of_them_would(seed: int) -> None:
    random = np.random.default_rng(seed)
    tracker = BufferTracker(60)
    slots, held = Slots(tracker, 6, 9), dict[int, int]()
    for index in range(400):
        words = int(random.integers(1, 7))
        free = [start for start in range(0, 54, 6) if start not in held.values()]
        oldest = min(free, key=lambda start: tracker.last_use(start, start + words))
        hold = len(held) < 7 and random.random() < 0.3
        start = slots.take(index, words, hold=hold)
        assert start == oldest
        tracker.write(start, start + words, index)
        if hold:
            held[index] = start
        if held and random.random() < 0.3:
            key = int(random.choice(list(held)))
            tracker.read(held[key], held[key] + int(random.integers(1, 7)), index)
            slots.release(key)
            del held[key]


def test_loads_wait_for_the_stores_that_they_overlap() -> None:
    tracker = TensorTracker()
    every = (0, 9)
    assert tracker.load(0, (every, every, every)) == frozenset()
    for row in range(3):
        tracker.store(0, ((0, 2), (row, row + 1), (0, 4)), 10 + row)
    tracker.finish()
    tracker.store(0, ((2, 4), (0, 3), (0, 4)), 20)
    tracker.finish()
    tracker.finish()
    assert tracker.load(0, ((0, 1), (-2, 2), every)) == {11}
    assert tracker.load(0, ((1, 3), (0, 1), every)) == {20}
    assert tracker.load(0, ((0, 4), (3, 5), every)) == frozenset()
    assert tracker.load(1, ((0, 1), (0, 2), every)) == frozenset()


def test_loads_do_not_wait_for_columns_that_they_leave_out() -> None:
    tracker = TensorTracker()
    for number, columns in enumerate(((0, 4), (4, 8), (8, 9))):
        tracker.store(0, ((0, 1), (0, 3), columns), number)
    tracker.finish()
    for columns, waits in (((-1, 4), 0), ((-1, 5), 1), ((3, 8), 1), ((8, 10), 2)):
        assert tracker.load(0, ((0, 1), (0, 3), columns)) == {waits}


def test_milestones_bound_the_tokens() -> None:
    tracker = TensorTracker()
    for row in range(100):
        tracker.store(0, ((0, 1), (row, row + 1), (0, 1)), row)
    tracker.finish()
    waited = [max(tracker.load(0, ((0, 1), (row, row + 1), (0, 1)))) for row in range(100)]
    assert len(set(waited)) <= TensorTracker.MILESTONES
    assert all(wait >= row for row, wait in enumerate(waited))

"""What a SpArch engine holds between two cycles, for the kernels that step it.

Written from ``docs/sparch.md`` and ``docs/architecture.md``. Registers are numbered: ``now`` is
what a cycle sees, ``then`` what the next one will see. Units read the first and write the second,
so their order does not matter. Numbers are int64 codes; of floats their 32 bits.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np


class Reg(enum.IntEnum):
    """Registers."""

    # sequencer: chunks not asked for, places promised, beats and descriptors that arrived
    CHUNKS = 0
    PROGRAM_ADDRESS = 1
    FREE_PLACES = 2
    AWAITED = 3
    PROGRAM_BEAT = 4
    PROGRAM_LEVEL = 5
    STEPS_LEVEL = 6
    RUNNING = 7
    DISPATCHED = 8
    TAKEN_STEPS = 9
    # control
    BUSY = 10
    BEGIN = 11
    RUNS = 12
    STEP = 13  # the descriptor at work
    # work records: beats not asked for, places in the queue, beats there; the beat in front of it
    # (whether there is one, and the grain of the round in which it ends); the next to be read
    LEFT_ADDRESS = 14
    UNASKED = 15
    LEFT_FREE = 16
    LEFT_LEVEL = 17
    LEFT_HELD = 18
    LEFT_END = 19
    READ = 20
    RECORD_END = 21
    # lines: fetches that are done, beats of the one under way
    FILLED = 22
    FILL_BEAT = 23
    # partial matrices: runs in order (a ring), elements of the first that came; the leaf that is
    # served, its elements, address, and how far that is; what is offered
    RUNS_HEAD = 24
    RUNS_TAIL = 25
    RUN_DONE = 26
    LEAF_AFTER = 27
    # read port and memory: bursts taken, on the bus, finished; beats of the first
    AR_VALID = 28
    READS_TAKEN = 29
    READS_ACCEPTED = 30
    READS_DONE = 31
    READ_BEAT = 32
    READ_FREE = 33
    # write port and memory
    WRITES_TAKEN = 34
    WRITES_SENT = 35
    WRITES_DONE = 36
    WRITE_BEAT = 37
    WRITE_FREE = 38
    AW_WAITS = 39
    WRITES_LOADED = 40
    WRITES_MOVED = 41  # of which all beats wait at the port, or went out
    # writer of elements and pointers
    WORKING = 42
    STAMPING = 43
    FLUSHED = 44
    WRITTEN = 45
    ENDS = 46  # what waits is flushed
    ENDING = 47
    WAITING = 48  # records in a beat that is not full
    POINTERS_WAITING = 49
    ELEMENT_BEATS = 50
    ELEMENT_FREE = 51
    ELEMENT_ADDRESS = 52
    POINTER_BEATS = 53
    POINTER_FREE = 54
    POINTER_ADDRESS = 55
    BEAT_HELD = 56  # whose beat transferred in the cycle before, and in that before it
    BEAT_GIVEN = 57
    STEP_WAITS = 58  # a descriptor waits in control, and was found legal
    STEP_CHECKED = 59
    ASK_STAGE = 60
    ASK_LEAF = 61
    ASK_ELEMENTS = 62
    ASK_ADDRESS = 63
    OFFER_LEAF = 64
    OFFER_FIRST = 65
    OFFER_COUNT = 66
    FINISHED = 67  # nothing is under way to the leaves any more
    # work records: beats that wait in registers, whether a run is asked for and its beats; those
    # read in the cycle before, batches in a ring, of the first how many are done; places for more
    LEFT_WAITS = 68
    LEFT_WANTS = 69
    LEFT_RUN = 70
    SAID = 71
    BATCH_HEAD = 72
    BATCH_TAIL = 73
    BATCH_DONE = 74
    PLACES = 75
    BATCH_LEFT = 76
    # the next record to be taken, those taken in the cycle before and put; how many more may be,
    # the oldest not used up
    RECORD = 77
    WENT = 78
    PUT = 79
    LOOK_LEFT = 80
    OLDEST = 81
    READ_ALL = 82  # no record is left to be read, nor was read in the cycle before
    # runs of rows of B: in a ring; places for more, whether one was freed in the cycle before
    ROW_RUNS_HEAD = 83
    ROW_RUNS_TAIL = 84
    ROW_SLOTS = 85
    ROW_FREED = 86
    # the write arbiter: whether a burst is offered, beats moved of the first, those at the port
    AW_VALID = 87
    MOVED_BEAT = 88
    SEND_LEVEL = 89
    # writers: whether a run is asked for, and its beats
    ELEMENT_WANTS = 90
    ELEMENT_RUN = 91
    POINTER_WANTS = 92
    POINTER_RUN = 93
    # places that are not promised, and by how much more they grew in the cycle before
    ELEMENT_ROOM = 94
    ELEMENT_BACK = 95
    POINTER_ROOM = 96
    POINTER_BACK = 97
    WORD_ROOM = 98
    # what was taken in the cycle before: elements, the last one's row, whether it was the end; the
    # row before; pointers that the word before that needs; words that wait, in a ring; pointers
    # that are left of the first, those made in the cycle before
    GIVEN = 99
    GIVEN_ROW = 100
    GIVEN_END = 101
    LAST_ROW = 102
    TOLD = 103
    TOLD_LEFT = 104
    WORDS_HEAD = 105
    WORDS_TAIL = 106
    POINTERS_LEFT = 107
    POINTERS_MADE = 108
    WORD_BACK = 109
    STEP_LOOKED = 110
    LANDED_LEAF = 111  # of partial matrices, what went into which leaf in the cycle before
    LANDED = 112
    COUNT = 113


class Split(enum.IntEnum):
    """Burst splitters; the first four are the readers, in order of precedence."""

    PROGRAM = 0
    LEFT = 1
    PARTIAL = 2
    RIGHT = 3
    ELEMENTS = 4
    POINTERS = 5


class Run(enum.IntEnum):
    """Fields of a splitter: a burst that is offered, and what is left of its run."""

    VALID = 0
    ADDRESS = 1
    BEATS = 2
    MORE = 3
    REST_ADDRESS = 4
    REST_BEATS = 5
    COUNT = 6


class Group(enum.IntEnum):
    """Registers of a group of multipliers, with the records that wait for it."""

    TAKEN = 0  # records put into its queue so far, used up
    USED = 1
    MARK = 2  # the oldest that is not, as far as known
    AT = 3  # of the record at work, the next element
    # records that left the queue, that were found to be there, that were at work or are
    LEFT = 4
    FOUND = 5
    BEGUN = 6
    COUNT = 7


class Piece(enum.IntEnum):
    """A piece of a record under way between buffer and gate, if any is ``THERE``."""

    THERE = 0
    LEAF = 1
    COUNT = 2
    FIRST = 3  # of the program's products
    CLOSES = 4


class Place(enum.IntEnum):
    """Where a piece is under way: two are offered, one is multiplied, one was read."""

    OFFERED = 0
    WAITS = 1
    TURNED = 2
    READ = 3


class Gate(enum.IntEnum):
    """What is under way to a leaf: taken in the cycle before, or in that before it.

    A word of products, or of a partial matrix; ``FIRST`` is its first element in the program's
    products, or in the store.
    """

    KIND = 0
    LEAF = 1
    COUNT = 2
    FIRST = 3
    CLOSES = 4


class Kind(enum.IntEnum):
    """Kinds of words that are under way to a leaf."""

    NONE = 0
    PRODUCTS = 1
    PARTIAL = 2


class Step(enum.IntEnum):
    """Kinds of descriptors, and fields of their rows."""

    SOURCE = 0
    ROUND = 1
    STAMP = 2
    END = 3


class Field(enum.IntEnum):
    """Fields of a descriptor's row; of a source the leaf lies in ``FINAL``."""

    KIND = 0
    FINAL = 1
    PARTIAL = 2
    ADDRESS = 3  # left, of a round; of a stamp or a source its own
    TARGET = 4
    POINTERS = 5
    ROWS = 6
    RECORDS = 7  # before the round's
    RECORDS_END = 8
    ROUND = 9
    STORE = 10  # where the round's elements are kept
    BEATS = 11  # of the round's records


class Params(NamedTuple):
    """Sizes of an engine and its memory; ``docs/sparch.md`` has the names."""

    bus_bytes: int
    burst_beats: int
    bus_bursts: int
    latency: int
    rate: int
    memory_bursts: int
    width: int
    ways: int
    layers: int
    leaf_fifo: int
    node_fifo: int
    multipliers: int
    groups: int
    look_ahead: int
    beat_grains: int
    partial_lanes: int
    partial_burst: int
    output_lanes: int
    pointer_lanes: int
    writer_beats: int
    writer_rows: int
    floating: bool


class Work(NamedTuple):
    """What a program does: descriptors' rows, work records, products.

    ``fed`` (rounds, ways) says which leaves are; ``address`` is in bytes; ``misses`` are the
    records that fetch, and one more, ``needs`` how many of them are up to a record and with it;
    ``queued`` (groups, records) are the records of each group; ``end`` is the grain of its round in
    which a record ends, ``begin`` where its products begin in ``keys`` and ``numbers``.
    """

    steps: np.ndarray
    fed: np.ndarray
    leaf: np.ndarray
    first: np.ndarray
    length: np.ndarray
    last: np.ndarray
    beats: np.ndarray
    address: np.ndarray
    misses: np.ndarray
    needs: np.ndarray
    queued: np.ndarray
    end: np.ndarray
    begin: np.ndarray
    keys: np.ndarray
    numbers: np.ndarray


class Machine(NamedTuple):
    """State of an engine under way.

    Queues of the tree are rows of ``ring_keys`` and ``ring_numbers``: row 1 is behind the root,
    node v merges rows 2 v and 2 v + 1 into row v, leaves are rows ``ways`` on. ``level`` is what a
    cycle sees of them, ``told`` what units are told: what was taken in the cycle before counts
    still; ``put`` and ``took`` are what it changes. ``codes`` and ``floats`` are the same memory,
    for sums.

    An element ``waits`` in a node, which its readiness has ``seen`` two cycles later. Of each layer
    ``chosen`` is the node of which the ends of queues are looked up in this cycle, ``looked`` the
    one of which they were in the cycle before, ``read`` the one that is served: without what was
    ``fresh``, put in the last two cycles, and with what ``was_closed`` when it was looked up;
    ``stage`` has what was taken in each of the last cycles, a ring. Of each node words ``coming``
    are on their way behind it, and there was room for one more (``tight``) or three (``wide``).

    ``piece`` (groups, 4) has pieces that are multiplied (:class:`Place`, :class:`Piece`),
    ``gate`` (groups, 2) words under way (:class:`Gate`), ``room`` (leaves, 2) says whether
    there was room for one word or two; leaves are ``over`` when their last products were checked,
    and ``shut`` when they are in; ``able`` are those for which a run can be asked, ``drained`` the
    sources that are in.
    """

    now: np.ndarray
    then: np.ndarray
    split: np.ndarray
    group: np.ndarray
    piece: np.ndarray
    gate: np.ndarray
    room: np.ndarray
    ring_keys: np.ndarray
    ring_numbers: np.ndarray
    level: np.ndarray
    told: np.ndarray
    put: np.ndarray
    took: np.ndarray
    head: np.ndarray
    closed: np.ndarray
    will_close: np.ndarray
    waits: np.ndarray
    held: np.ndarray
    seen: np.ndarray
    after: np.ndarray
    chosen: np.ndarray
    looked: np.ndarray
    read: np.ndarray
    fresh: np.ndarray
    was_closed: np.ndarray
    coming: np.ndarray
    tight: np.ndarray
    wide: np.ndarray
    stage_node: np.ndarray
    stage_waits: np.ndarray
    stage_count: np.ndarray
    stage_keys: np.ndarray
    stage_numbers: np.ndarray
    is_source: np.ndarray
    is_fed: np.ndarray
    over: np.ndarray
    shut: np.ndarray
    able: np.ndarray
    drained: np.ndarray
    unasked: np.ndarray
    promised: np.ndarray
    leaf_address: np.ndarray
    source_at: np.ndarray
    runs: np.ndarray
    batches: np.ndarray
    row_runs: np.ndarray
    words: np.ndarray
    reads: np.ndarray
    writes: np.ndarray
    sizes: np.ndarray
    places: np.ndarray
    store_keys: np.ndarray
    store_numbers: np.ndarray
    codes: np.ndarray
    floats: np.ndarray
    counters: np.ndarray
    accepted: np.ndarray

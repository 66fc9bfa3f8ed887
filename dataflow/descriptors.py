"""Descriptors: the instructions of a program, as plain values.

Their bit layout is in :mod:`celosia.rtl.descriptors`; ``docs/architecture.md`` has the semantics.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields

from celosia.dataflow.precision import Precision
from celosia.models.network import Rounding


class Unit(enum.Enum):
    """The four units that run descriptors."""

    LOAD = 0
    COMPUTE = 1
    POST = 2
    STORE = 3


class Token(enum.IntEnum):
    """Token counters: ``A_B`` is given by unit A and taken by unit B. The value is the mask bit."""

    LOAD_COMPUTE = 0
    COMPUTE_LOAD = 1
    LOAD_POST = 2
    POST_LOAD = 3
    COMPUTE_POST = 4
    POST_COMPUTE = 5
    POST_STORE = 6
    STORE_POST = 7
    STORE_LOAD = 8
    STORE_COMPUTE = 9
    LOAD_STORE = 10

    @property
    def giver(self) -> Unit:
        """The unit that signals this token."""
        return Unit[self.name.split("_")[0]]

    @property
    def taker(self) -> Unit:
        """The unit that waits for this token."""
        return Unit[self.name.split("_")[1]]


def tokens(*, keeps: bool) -> tuple[Token, ...]:
    """Return the tokens of an engine, of which some serve only outputs that stay on chip."""
    only = (Token.STORE_COMPUTE, Token.LOAD_STORE)
    return tuple(token for token in Token if keeps or token not in only)


class Buffer(enum.Enum):
    """Targets of a load."""

    ACTIVATIONS = 0
    WEIGHTS = 1
    CONSTANTS = 2
    RESIDUALS = 3
    TABLES = 4


NO_TOKENS: frozenset[Token] = frozenset()


def _check(owner: object, low: int, high: int, *fields: str) -> None:
    """Raise unless each of the ``fields`` of ``owner`` is an integer in ``low..high``."""
    for field in fields:
        value = getattr(owner, field)
        if type(value) is int and low <= value <= high:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{type(owner).__name__} {field} must be an integer, not {value!r}")
        if not low <= value <= high:
            raise ValueError(
                f"{type(owner).__name__} {field} must be in {low}..{high}, not {value!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A strided block between memory and a buffer: three outer loops round runs of words.

    For i3 in range(n3), i2 in range(n2), i1 in range(n1): ``words`` consecutive
    words, in memory from ``address + i1*s1 + i2*s2 + i3*s3`` (bytes, signed 32 bits,
    addresses beat-aligned) and in the buffer from ``buffer_address + i1*d1 + i2*d2 +
    i3*d3`` (words, modulo 2**16). Counts are 1..65535 (n3: 1..255).
    """

    address: int
    buffer_address: int
    words: int
    n1: int = 1
    n2: int = 1
    n3: int = 1
    s1: int = 0
    s2: int = 0
    s3: int = 0
    d1: int = 0
    d2: int = 0
    d3: int = 0

    def __post_init__(self) -> None:
        _check(self, 0, (1 << 64) - 1, "address")
        _check(self, 1, 0xFFFF, "words", "n1", "n2")
        _check(self, 1, 0xFF, "n3")
        _check(self, -(1 << 31), (1 << 31) - 1, "s1", "s2", "s3")
        _check(self, 0, 0xFFFF, "buffer_address", "d1", "d2", "d3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Memory to a buffer. For ACTIVATIONS iteration i3 writes pixel lane ``lane + i3``."""

    target: Buffer
    transfer: Transfer
    lane: int = 0
    wait: frozenset[Token] = NO_TOKENS
    signal: frozenset[Token] = NO_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One temporal loop of the array: ``count`` 1..65535, strides in words, modulo 2**16.

    ``reduction`` marks a loop over the reduction: a step whose reduction loops are
    all at 0 starts its accumulator afresh (unless the descriptor accumulates).
    """

    count: int
    activations: int
    weights: int
    accumulators: int
    reduction: bool

    def __post_init__(self) -> None:
        _check(self, 1, 0xFFFF, "count")
        _check(self, -0xFFFF, 0xFFFF, "activations", "weights", "accumulators")


COMPUTE_LOOPS = 6
"""Most temporal loops of one compute descriptor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliding:
    """How the windows of a depthwise compute slide over the words that its steps read.

    The two innermost loops go along the words of a line, then down the lines, whichever outer loop
    begins again. A step adds to an accumulator if ``skip_columns`` words of its line lie before its
    word, plus any multiple of ``column_stride``, and as many lines before its line (0..15 skipped,
    strides 1..16). Column k takes lane ``(first_lane + k) % lanes`` of the words.
    """

    skip_rows: int
    skip_columns: int
    row_stride: int
    column_stride: int
    first_lane: int

    def __post_init__(self) -> None:
        _check(self, 0, 15, "skip_rows", "skip_columns")
        _check(self, 1, 16, "row_stride", "column_stride")
        _check(self, 0, 0xFF, "first_lane")

    def sums(self, lines: int, words: int) -> tuple[int, int]:
        """Return the rows and columns of sums of ``lines`` lines of ``words`` words."""
        rows = (lines - self.skip_rows - 1) // self.row_stride + 1
        return rows, (words - self.skip_columns - 1) // self.column_stride + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """One loop nest on the array, ``loops`` innermost first, one step a cycle.

    Each step multiplies the activation word of every pixel lane by the weight word
    and adds to the accumulators at its accumulator address. Where ``scaled``, activations
    have scales; otherwise theirs are 1. Where ``rounded``, products of scales are rounded.
    Precision-scalable columns need ``precision``: their innermost loop, over the reduction, holds
    all addresses and counts the passes of a word, which together are one such product.

    With ``sliding`` each column multiplies the window of its own channel, of which the word just
    read is the last. The two innermost loops move no accumulator: sums of one turn of both lie one
    after the other.
    """

    loops: tuple[Loop, ...]
    activations: int
    weights: int
    accumulators: int
    activations_signed: bool
    accumulate: bool = False
    precision: Precision | None = None
    scaled: bool = False
    rounded: bool = False
    sliding: Sliding | None = None
    wait: frozenset[Token] = NO_TOKENS
    signal: frozenset[Token] = NO_TOKENS

    def __post_init__(self) -> None:
        if not 1 <= len(self.loops) <= COMPUTE_LOOPS:
            raise ValueError(f"Compute loops must be 1 to {COMPUTE_LOOPS}, not {len(self.loops)}")
        _check(self, 0, 0xFFFF, "activations", "weights", "accumulators")
        inner = self.loops[0]
        if self.precision is not None and (
            inner.activations or inner.weights or inner.accumulators or not inner.reduction
        ):
            raise ValueError(f"Compute loops[0] must count passes and move nothing, not {inner}")
        if self.sliding is not None:
            self._check_sliding(self.sliding)

    def _check_sliding(self, sliding: Sliding) -> None:
        if len(self.loops) < 2:
            raise ValueError("Compute loops must be at least 2 where windows slide, not 1")
        for index, loop in enumerate(self.loops[:2]):
            if loop.accumulators or loop.reduction:
                raise ValueError(
                    f"Compute loops[{index}] must slide: not reduce and move no accumulator, "
                    f"not {loop}"
                )
        if min(sliding.sums(self.loops[1].count, self.loops[0].count)) < 1:
            raise ValueError(f"Compute loops must have a sum at least, not {self.loops[:2]}")

    @property
    def steps(self) -> int:
        """Steps (cycles) of the nest."""
        steps = 1
        for loop in self.loops:
            steps *= loop.count
        return steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Accumulators to output words: requantise, add the residual, pool.

    Loops, innermost first: window x, window y (maximum over the window), output x,
    output y, pixel lane, column group (``post_lanes`` columns each). Window and
    output loops move the accumulator address (``acc_*``, words, modulo 2**16);
    output x, y and pixel lane move the output address (``out_*``); the column group
    moves the constant address by one, the columns by ``post_lanes`` and the lanes
    of the output word likewise; past the last lane group of a word the output
    address moves by ``out_word`` and the lane group returns to 0. The residual
    address is the output address plus ``residuals - outputs``.

    Where ``residual_scaled``, residual codes are multiplied by their scales. Where ``scaled``,
    outputs become elements and scales: values are then clamped to the elements' largest (those
    of a signed format where ``output_signed``) times the largest scale, and from below to 0 or,
    where ``low`` is negative, to the negative of that; ``high`` does not matter.

    With a ``table``, its number on chip, codes are looked up in it before maxima are taken, by
    their lowest bits; what it holds has a sign where ``output_signed``.
    """

    window_x: int
    window_y: int
    out_x: int
    out_y: int
    pixels: int
    groups: int
    acc_window_x: int
    acc_window_y: int
    acc_out_x: int
    acc_out_y: int
    out_out_x: int
    out_out_y: int
    out_pixel: int
    out_word: int
    accumulators: int
    constants: int
    outputs: int
    residuals: int
    lane_group: int
    low: int
    high: int
    rounding: Rounding
    residual: bool
    residual_signed: bool
    residual_scaled: bool = False
    scaled: bool = False
    output_signed: bool = False
    table: int | None = None
    wait: frozenset[Token] = NO_TOKENS
    signal: frozenset[Token] = NO_TOKENS

    def __post_init__(self) -> None:
        _check(self, 1, 0xFFFF, "window_x", "window_y", "out_x", "out_y", "pixels", "groups")
        _check(self, 0, 0xFFFF, "accumulators", "constants", "outputs", "residuals")
        _check(self, 0, 0xFF, "lane_group")
        _check(self, -0x1_0000, 0xFFFF, "low", "high")
        if self.table is not None:
            _check(self, 0, 0xF, "table")

    @property
    def steps(self) -> int:
        """Steps (cycles) of the nest."""
        return self.window_x * self.window_y * self.out_x * self.out_y * self.pixels * self.groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The output buffer to memory."""

    transfer: Transfer
    wait: frozenset[Token] = NO_TOKENS
    signal: frozenset[Token] = NO_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Runs on the store unit: the output buffer to the activation buffer.

    ``transfer`` is read with activation words in the place of memory: ``address``, ``s1``, ``s2``
    and ``s3`` are 0..65535, in words. Iteration i3 writes pixel lane ``lane + i3``. While it runs
    no load may write the same bank.
    """

    transfer: Transfer
    lane: int = 0
    wait: frozenset[Token] = NO_TOKENS
    signal: frozenset[Token] = NO_TOKENS

    def __post_init__(self) -> None:
        _check(self.transfer, 0, 0xFFFF, "address", "s1", "s2", "s3")
        _check(self, 0, 0xFF, "lane")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Runs on the store unit: writes one beat at ``address``.

    Its low 64 bits are the cycle counter's value when the stamp began, which is after
    all earlier stores were acknowledged.
    """

    address: int
    wait: frozenset[Token] = NO_TOKENS
    signal: frozenset[Token] = NO_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Runs on the store unit, last: the program is done and the interrupt rises."""

    wait: frozenset[Token] = NO_TOKENS


Descriptor = Load | Compute | Post | Store | Keep | Stamp | End

DESCRIPTOR_BYTES = 64
CHUNK_DESCRIPTORS = 4
"""The sequencer fetches descriptors four at a time: 256 bytes, 256-byte aligned."""


_UNIT_OF = {
    Load: Unit.LOAD,
    Compute: Unit.COMPUTE,
    Post: Unit.POST,
    Store: Unit.STORE,
    Keep: Unit.STORE,
    Stamp: Unit.STORE,
    End: Unit.STORE,
}


def unit_of(descriptor: Descriptor) -> Unit:
    """Return the unit that runs ``descriptor``."""
    return _UNIT_OF[type(descriptor)]


def with_tokens(
    descriptor: Descriptor, wait: frozenset[Token], signal: frozenset[Token]
) -> Descriptor:
    """Return a copy of ``descriptor`` that takes and gives these tokens; an end gives none.

    Its fields are not checked again: of a large program that takes longer than all else here.
    """
    kind = type(descriptor)
    copy = object.__new__(kind)
    for name in _FIELDS[kind]:
        object.__setattr__(copy, name, getattr(descriptor, name))
    object.__setattr__(copy, "wait", wait)
    if kind is not End:
        object.__setattr__(copy, "signal", signal)
    return copy


_FIELDS = {
    kind: tuple(f.name for f in fields(kind) if f.name not in ("wait", "signal"))
    for kind in _UNIT_OF
}

"""Programs: what the compiler emits, the timing model prices and the hardware runs.

A program is a list of descriptors in memory order. The sequencer hands each to
the queue of its unit; each unit runs its queue in order; units wait for each
other by tokens. Descriptors are plain values here; their bit layout is in
:mod:`celosia.rtl.descriptors`. ``docs/architecture.md`` has the semantics.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.layout import Placement
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

    @property
    def giver(self) -> Unit:
        """The unit that signals this token."""
        return Unit[self.name.split("_")[0]]

    @property
    def taker(self) -> Unit:
        """The unit that waits for this token."""
        return Unit[self.name.split("_")[1]]


class Buffer(enum.Enum):
    """Targets of a load."""

    ACTIVATIONS = 0
    WEIGHTS = 1
    CONSTANTS = 2
    RESIDUALS = 3


NO_TOKENS: frozenset[Token] = frozenset()


def _check(owner: object, low: int, high: int, *fields: str) -> None:
    """Raise unless each of the ``fields`` of ``owner`` is an integer in ``low..high``."""
    for field in fields:
        value = getattr(owner, field)
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
class Compute:
    """One loop nest on the array, ``loops`` innermost first, one step a cycle.

    Each step multiplies the activation word of every pixel lane by the weight word
    and adds to the accumulators at its accumulator address.
    """

    loops: tuple[Loop, ...]
    activations: int
    weights: int
    accumulators: int
    activations_signed: bool
    accumulate: bool = False
    wait: frozenset[Token] = NO_TOKENS
    signal: frozenset[Token] = NO_TOKENS

    def __post_init__(self) -> None:
        if not 1 <= len(self.loops) <= COMPUTE_LOOPS:
            raise ValueError(f"Compute loops must be 1 to {COMPUTE_LOOPS}, not {len(self.loops)}")
        _check(self, 0, 0xFFFF, "activations", "weights", "accumulators")

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
    wait: frozenset[Token] = NO_TOKENS
    signal: frozenset[Token] = NO_TOKENS

    def __post_init__(self) -> None:
        _check(self, 1, 0xFFFF, "window_x", "window_y", "out_x", "out_y", "pixels", "groups")
        _check(self, 0, 0xFFFF, "accumulators", "constants", "outputs", "residuals")
        _check(self, 0, 0xFF, "lane_group")
        _check(self, -0x100, 0xFF, "low", "high")

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


Descriptor = Load | Compute | Post | Store | Stamp | End

DESCRIPTOR_BYTES = 64
CHUNK_DESCRIPTORS = 4
"""The sequencer fetches descriptors four at a time: 256 bytes, 256-byte aligned."""


class Counter(enum.IntEnum):
    """The hardware's performance counters, 64 bits each, in register order.

    Reads of an operand count only when its address differs from the step before
    (in the same descriptor); the first step of a descriptor always counts.
    """

    CYCLES = 0
    """From start to interrupt."""
    COMPUTE_STEPS = 1
    POST_STEPS = 2
    ACTIVATION_READS = 3
    """Reads of the activation buffer, all pixel lanes at once."""
    WEIGHT_READS = 4
    ACCUMULATOR_READS = 5
    """Read by compute: runs of equal accumulator address that do not start afresh."""
    ACCUMULATOR_WRITES = 6
    """Runs of equal accumulator address."""
    ACCUMULATOR_DRAINS = 7
    """Reads by post: steps whose (accumulator address, pixel, group) changed."""
    CONSTANT_READS = 8
    RESIDUAL_READS = 9
    """Reads by post: residual word address changed."""
    OUTPUT_WRITES = 10
    """Lane-group writes by post: one for each window."""
    OUTPUT_READS = 11
    """Words read by store."""
    READ_BEATS = 12
    """Data beats read from memory, descriptors included."""
    WRITE_BEATS = 13
    """Data beats written to memory, stamps included."""
    LOAD_BUSY = 14
    """Cycles with a load descriptor accepted and not yet signalled."""
    STORE_BUSY = 15
    """Cycles with a store-unit descriptor accepted and not yet finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledLayer:
    """One operation of the network in a program.

    Parameters
    ----------
    name : str
        The operation's name.
    outputs : tuple of str
        The tensors that it wrote when its stamp begins, copies made for it included.
    first, stop : int
        Range of its descriptors' indices; the last is its stamp.
    stamp : int
        Address of the beat that its stamp writes.
    products : int
        Useful products of one sample (:meth:`celosia.models.network.Network.products`).
    """

    name: str
    outputs: tuple[str, ...]
    first: int
    stop: int
    stamp: int
    products: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A network compiled for an accelerator. One start runs all of it.

    Parameters
    ----------
    network : str
        The network's name.
    accelerator : Accelerator
        The engine that it is for.
    descriptors : tuple of Descriptor
        In memory order, from ``program_address`` on.
    layers : tuple of CompiledLayer
        In order. A concat that needs no copies has none.
    placements : tuple of Placement
        Every tensor of the network, copies included.
    inputs, outputs : tuple of str
        Names of the network's inputs and outputs.
    image : numpy.ndarray
        uint8, the memory from ``base_address`` on, without inputs and descriptors.
    base_address : int
        Address of the image's first byte.
    program_address : int
        Where the encoded descriptors go, a multiple of 256.
    """

    network: str
    accelerator: Accelerator
    descriptors: tuple[Descriptor, ...]
    layers: tuple[CompiledLayer, ...]
    placements: tuple[Placement, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    image: np.ndarray
    base_address: int
    program_address: int

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 1:
            raise TypeError(f"image must be one-dimensional uint8, not {self.image.dtype}")
        if self.program_address % (CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES):
            raise ValueError(f"program_address must be a multiple of 256: {self.program_address}")
        base, limit = self.window
        if not base <= self.program_address <= limit - self.program_bytes:
            raise ValueError(f"program_address {self.program_address:#x} does not fit the image")

    @property
    def chunks(self) -> int:
        """Chunks of four descriptors that the sequencer fetches."""
        return -(-len(self.descriptors) // CHUNK_DESCRIPTORS)

    @property
    def program_bytes(self) -> int:
        """Bytes of the descriptors, padded to whole chunks."""
        return self.chunks * CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES

    @property
    def memory_size(self) -> int:
        """Bytes of memory that the program uses."""
        return len(self.image)

    @property
    def window(self) -> tuple[int, int]:
        """First address that the engine may touch, and the first after the last."""
        return self.base_address, self.base_address + len(self.image)

    @property
    def products(self) -> int:
        """Useful products of one sample."""
        return sum(layer.products for layer in self.layers)

    def placement(self, name: str) -> Placement:
        """Return where tensor ``name`` lies; ``KeyError`` if there is none."""
        for placement in self.placements:
            if placement.name == name:
                return placement
        raise KeyError(name)

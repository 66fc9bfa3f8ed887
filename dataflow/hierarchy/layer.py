"""Layers as values: the loop bounds of a convolution, and which tensor each loop moves.

A matrix product of ``m x n`` times ``n x k`` is a convolution with a window of 1 x 1, ``n``
input channels, ``k`` output channels and ``m`` rows of one pixel.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, fields

from celosia.models.errors import CelosiaError

MAX_MACS = 1 << 50
"""Products of the largest layer: all counts stay exact in double precision."""


class Dim(enum.Enum):
    """The loops of a layer: output and input channels, output rows and columns, window."""

    K = "K"
    C = "C"
    P = "P"
    Q = "Q"
    R = "R"
    S = "S"


class Tensor(enum.Enum):
    """The operands: inputs, weights, outputs."""

    INPUT = "I"
    WEIGHT = "W"
    OUTPUT = "O"


class Relevance(enum.Enum):
    """What a step of a loop does to a tile: nothing, moves it to other words, or shifts it."""

    NONE = 0
    FULL = 1
    PARTIAL = 2


_FULL = {
    Tensor.INPUT: (Dim.C,),
    Tensor.WEIGHT: (Dim.K, Dim.C, Dim.R, Dim.S),
    Tensor.OUTPUT: (Dim.K, Dim.P, Dim.Q),
}


def relevance(tensor: Tensor, dim: Dim) -> Relevance:
    """Return what a step of the loop ``dim`` does to a tile of ``tensor``."""
    if dim in _FULL[tensor]:
        return Relevance.FULL
    if tensor is Tensor.INPUT and dim is not Dim.K:
        return Relevance.PARTIAL
    return Relevance.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution without padding: its input holds all that its windows cover.

    Attributes
    ----------
    c, k : int
        Input and output channels.
    p, q : int
        Output rows and columns.
    r, s : int
        Rows and columns of the window.
    stride : int
        Distance of windows, in rows and in columns alike.
    """

    c: int
    k: int
    p: int
    q: int
    r: int
    s: int
    stride: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{field.name} must be a positive integer, not {value!r}")
        if self.words(Tensor.INPUT) > MAX_MACS:
            raise ValueError(
                f"a layer may have {MAX_MACS} words of inputs, not {self.words(Tensor.INPUT)}: "
                "take a smaller stride"
            )
        if self.macs > MAX_MACS:
            raise ValueError(
                f"a layer may have {MAX_MACS} products, not {self.macs}: "
                f"{self.macs - MAX_MACS} too many"
            )

    @classmethod
    def gemm(cls, m: int, n: int, k: int) -> Layer:
        """Return the product of an ``m x n`` and an ``n x k`` matrix."""
        return cls(c=n, k=k, p=m, q=1, r=1, s=1)

    @classmethod
    def parse(cls, text: str) -> Layer:
        """Return the layer written ``C,K,P,Q,R,S,stride``.

        Raises :class:`CelosiaError` when it is written otherwise or a number is out of range.
        """
        try:
            numbers = [int(part) for part in text.split(",")]
            if len(numbers) != 7:
                raise ValueError(f"it has {len(numbers)} numbers")
            c, k, p, q, r, s, stride = numbers
            return cls(c=c, k=k, p=p, q=q, r=r, s=s, stride=stride)
        except ValueError as error:
            raise CelosiaError(
                f"layer {text!r} is not understood ({error}): write C,K,P,Q,R,S,stride, seven "
                "positive integers such as 64,64,56,56,3,3,1"
            ) from error

    def size(self, dim: Dim) -> int:
        """Return the iterations of the loop ``dim``."""
        return int(getattr(self, dim.value.lower()))

    @property
    def macs(self) -> int:
        """Products of the layer."""
        return math.prod(self.size(dim) for dim in Dim)

    def words(self, tensor: Tensor) -> int:
        """Return the words of ``tensor``; of inputs the box that all windows cover."""
        if tensor is Tensor.INPUT:
            return self.c * self.input_extent(self.p, self.r) * self.input_extent(self.q, self.s)
        return math.prod(self.size(dim) for dim in _FULL[tensor])

    def input_extent(self, outputs: int, window: int) -> int:
        """Return the rows of the box under ``outputs`` rows of ``window`` window rows."""
        return (outputs - 1) * self.stride + window

    def input_touched(self, outputs: int, window: int) -> int:
        """Return how many rows of that box some product reads."""
        return (outputs - 1) * min(self.stride, window) + window

    def __str__(self) -> str:
        return ",".join(str(getattr(self, field.name)) for field in fields(self))

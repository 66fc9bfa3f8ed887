"""What a lane computes from a weight and an activation. Imports numpy only.

Multiplication is one choice of three: AdderNet (CVPR 2020) adds distances, ShiftAddNet (NeurIPS
2020) adds shifted activations, each rounded down as a barrel shifter does that drops bits.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from celosia.models.formats import Element, Fixed, Format, Pot

MAX_DROPPED = 13
"""Most bits that a shift drops: the widest shift of any format of powers of two, less one."""


class Kind(enum.Enum):
    """The kinds of operation."""

    MULTIPLY = "multiply"
    DISTANCE = "distance"
    SHIFT = "shift"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The term that a weight ``w`` and an activation ``a`` add to a sum, an exact integer.

    - ``MULTIPLY``: ``w * a``.
    - ``DISTANCE``: ``-|a - w|``; weights and activations count in the same step. A lane without a
      channel must add nothing whatever ``a`` is, so the format's lowest code stands for no lane
      and is no weight.
    - ``SHIFT``: ``sign(w) * floor(a * |w| / 2**dropped)``. With weights ``s * 2**p``, ``p`` from
      ``-E`` to 0, stored as ``s * 2**(E + p)`` (:class:`~celosia.models.formats.Pot`), terms have
      ``E - dropped`` fraction bits: ``pot_5`` (E = 14) and ``dropped = 6`` is the Q8 of a
      truncating barrel shifter. What drops nothing is ``MULTIPLY``.

    ``dropped`` is 1..13 for a shift, 0 otherwise.
    """

    kind: Kind
    dropped: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.kind, Kind):
            raise TypeError(f"kind must be a Kind, not {self.kind!r}")
        if not isinstance(self.dropped, int) or isinstance(self.dropped, bool):
            raise TypeError(f"dropped must be an integer, not {self.dropped!r}")
        if self.kind is not Kind.SHIFT and self.dropped:
            raise ValueError(f"dropped must be 0 for {self.kind.value}, not {self.dropped!r}")
        if self.kind is Kind.SHIFT and not 1 <= self.dropped <= MAX_DROPPED:
            raise ValueError(
                f"dropped must be in 1..{MAX_DROPPED} for a shift, not {self.dropped!r}: a shift "
                "that drops nothing is a multiplication by a power of two"
            )

    @property
    def name(self) -> str:
        """The name that :func:`parse_operation` reads back, such as ``shift_6``."""
        return f"shift_{self.dropped}" if self.kind is Kind.SHIFT else self.kind.value

    def check_format(self, fmt: Format) -> None:
        """Raise ``ValueError`` if weights of ``fmt`` cannot take part, saying which can."""
        if self.kind is Kind.DISTANCE:
            if not isinstance(fmt, Fixed) or not fmt.signed or fmt.bits < 2:
                raise ValueError(
                    "a distance needs signed fixed-point weights of at least 2 bits, in the step "
                    f"of the activations, not {fmt.name}"
                )
        elif self.kind is Kind.SHIFT:
            if not isinstance(fmt, Pot):
                raise ValueError(f"a shift needs weights that are powers of two, not {fmt.name}")
            if fmt.high < 1 << self.dropped:
                raise ValueError(
                    f"a shift cannot drop {self.dropped} bits of {fmt.name}, whose greatest weight "
                    f"is {fmt.high}"
                )

    def weights(self, fmt: Format) -> np.ndarray:
        """Return the values of ``fmt`` that weights may have, ascending, int64."""
        return np.delete(fmt.values, 0) if self.kind is Kind.DISTANCE else fmt.values

    def check_weights(self, fmt: Format, weights: np.ndarray) -> None:
        """Raise ``ValueError`` if a value of ``fmt`` among ``weights`` is no weight."""
        if self.kind is Kind.DISTANCE and (weights == fmt.low).any():
            raise ValueError(
                f"a distance cannot have the weight {fmt.low} of {fmt.name}, which stands for "
                "no lane: clip weights to a symmetric range"
            )

    def idle(self, fmt: Format) -> int:
        """Return the value of ``fmt`` whose terms are 0 for every activation."""
        return fmt.low if self.kind is Kind.DISTANCE else 0

    def terms(self, weights: np.ndarray, activations: np.ndarray) -> np.ndarray:
        """Return the term of each weight and activation, int64, shapes broadcast.

        Neither holds the value for no lane.
        """
        weights = np.asarray(weights, dtype=np.int64)
        activations = np.asarray(activations, dtype=np.int64)
        if self.kind is Kind.DISTANCE:
            return np.asarray(-np.abs(activations - weights))
        if self.kind is Kind.SHIFT:
            shifted = (activations * np.abs(weights)) >> self.dropped
            return np.asarray(np.sign(weights) * shifted)
        return np.asarray(weights * activations)

    def term_range(self, weights: np.ndarray, activation: Element) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of each weight's term for any activation and for none, which adds 0.

        Both int64 of the shape of ``weights``, the first <= 0 <= the second.
        """
        ends = np.stack(
            [self.terms(weights, np.array(a)) for a in (activation.low, activation.high)]
        )
        return np.minimum(ends.min(axis=0), 0), np.maximum(ends.max(axis=0), 0)


MULTIPLY = Operation(kind=Kind.MULTIPLY)
"""``w * a``."""

DISTANCE = Operation(kind=Kind.DISTANCE)
"""``-|a - w|``."""


def shift(dropped: int) -> Operation:
    """Return the operation that shifts and drops ``dropped`` (1..13) bits of each term."""
    return Operation(kind=Kind.SHIFT, dropped=dropped)


def parse_operation(name: str) -> Operation:
    """Return the operation called ``name``: ``multiply``, ``distance``, ``shift_N``.

    Raises ``ValueError`` listing the known names.
    """
    stem, _, dropped = name.partition("_")
    if stem == Kind.SHIFT.value and dropped.isascii() and dropped.isdigit() and len(dropped) < 3:
        return shift(int(dropped))
    for operation in (MULTIPLY, DISTANCE):
        if name == operation.name:
            return operation
    raise ValueError(
        f"unknown operation {name!r}: known are multiply, distance, "
        f"shift_N (N = 1..{MAX_DROPPED} bits dropped)"
    )

"""What a quantisation is asked to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from celosia.models.formats import Fixed, Sp2
from celosia.models.network import Rounding


class Assignment(enum.Enum):
    """Which rows (output channels) of a layer get the SP2 format.

    VARIANCE: those of the lowest variance (MSQ, "Mix and Match", HPCA 2021): SP2 is
    dense near 0, where such rows have most of their weights.
    MSE: those that lose least, or gain most, by it in mean squared error.
    """

    VARIANCE = "variance"
    MSE = "mse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to quantise a network.

    Attributes
    ----------
    weight_bits
        Bits of a weight, 4 or 8.
    activation_bits
        Bits of an activation, 4 or 8.
    sp2_ratio
        Share of each layer's rows that get SP2, 0 to 1; the others get fixed point.
    first_last_8bit
        Whether the first and last layers have fixed 8-bit weights and the network's
        inputs and outputs 8 bits.
    assignment
        How rows are chosen for SP2.
    rounding
        Rounding of the requantisation.
    error_feedback
        Whether weights are fitted to what the quantised layers before them give, and
        rounded so that their errors cancel on the calibration data. Without it every weight
        is rounded to the nearest.
    output_bits
        Bits of the network's outputs, 1 to 8; None for what the other fields say. Scores are
        compared, not added up, so their width decides about ties only.
    """

    weight_bits: int = 4
    activation_bits: int = 8
    sp2_ratio: float = 0.6
    first_last_8bit: bool = False
    assignment: Assignment = Assignment.VARIANCE
    rounding: Rounding = Rounding.HALF_EVEN
    error_feedback: bool = True
    output_bits: int | None = None

    def __post_init__(self) -> None:
        for field in ("weight_bits", "activation_bits"):
            if getattr(self, field) not in (4, 8):
                raise ValueError(f"{field} must be 4 or 8, not {getattr(self, field)!r}")
        if not 0 <= self.sp2_ratio <= 1:
            raise ValueError(f"sp2_ratio must be in 0..1, not {self.sp2_ratio!r}")
        if not isinstance(self.assignment, Assignment):
            raise TypeError(f"assignment must be an Assignment, not {self.assignment!r}")
        if not isinstance(self.rounding, Rounding):
            raise TypeError(f"rounding must be a Rounding, not {self.rounding!r}")
        if self.output_bits is not None and not 1 <= self.output_bits <= 8:
            raise ValueError(f"output_bits must be in 1..8 or None, not {self.output_bits!r}")

    @property
    def fixed(self) -> Fixed:
        """The fixed-point weight format."""
        return Fixed(bits=self.weight_bits)

    @property
    def sp2(self) -> Sp2:
        """The SP2 weight format."""
        return Sp2(bits=self.weight_bits)

    @property
    def input_width(self) -> int:
        """Bits of the network's inputs."""
        return 8 if self.first_last_8bit else self.activation_bits

    @property
    def output_width(self) -> int:
        """Bits of the network's outputs."""
        return self.output_bits or self.input_width

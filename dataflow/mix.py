"""Which mix of columns gives the most products a cycle: the chooser of MSQ, for any device.

MSQ ("Mix and Match", HPCA 2021, section 5) fills the DSP blocks with fixed-point columns and what
look-up tables are left with columns of another format. Here a kind of column is what a product of
it was measured to take, and the mix of two kinds that makes the most products is found by trying
every number of granules of one and filling up with the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from celosia.dataflow.array_shape import Circuit
from celosia.models.errors import CelosiaError


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnCost:
    """What one product a cycle takes in a kind of column.

    Attributes
    ----------
    weights : str
        Name of the weights' format.
    activation_bits : int
        Bits of an activation.
    circuit : Circuit
        What the products are made of.
    lut, dsp : float
        Look-up tables and DSP blocks for each product, of the column, its adder tree and a
        24-bit accumulator; neither below 0, and one of them above.
    """

    weights: str
    activation_bits: int
    circuit: Circuit
    lut: float
    dsp: float = 0.0

    def __post_init__(self) -> None:
        for field in ("lut", "dsp"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field} must be 0 or more, not {value!r}")
        if not self.lut + self.dsp:
            raise ValueError("lut or dsp must be above 0: a product takes something")

    @property
    def title(self) -> str:
        """Such as ``fixed4 x 4 bits (dsp)``."""
        return f"{self.weights} x {self.activation_bits} bits ({self.circuit.value})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What columns may take: ``lut`` look-up tables and ``dsp`` DSP blocks, 0 or more."""

    lut: float
    dsp: float

    def __post_init__(self) -> None:
        for field in ("lut", "dsp"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field} must be 0 or more, not {value!r}")

    def holds(self, cost: ColumnCost) -> int:
        """Return how many products of ``cost`` fit."""
        limits = [
            # An amount that is whole but for the rounding of a quotient counts as whole.
            math.floor(limit / each + 1e-9)
            for limit, each in ((self.lut, cost.lut), (self.dsp, cost.dsp))
            if each
        ]
        return min(limits)

    def less(self, cost: ColumnCost, products: int) -> Budget:
        """Return what ``products`` of ``cost`` leave."""
        return Budget(
            lut=max(0.0, self.lut - products * cost.lut),
            dsp=max(0.0, self.dsp - products * cost.dsp),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """``products`` a cycle of one kind of column."""

    cost: ColumnCost
    products: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """One or two kinds of column, the one with more products first."""

    parts: tuple[Part, ...]

    @property
    def products(self) -> int:
        """Products a cycle."""
        return sum(part.products for part in self.parts)

    @property
    def lut(self) -> float:
        """Look-up tables taken."""
        return sum(part.products * part.cost.lut for part in self.parts)

    @property
    def dsp(self) -> float:
        """DSP blocks taken."""
        return sum(part.products * part.cost.dsp for part in self.parts)

    def share(self, circuit: Circuit) -> float:
        """Share of the products that columns of ``circuit`` make."""
        mine = sum(part.products for part in self.parts if part.cost.circuit is circuit)
        return mine / self.products if self.products else 0.0

    def gops(self, clock_mhz: float) -> float:
        """Peak performance in 10^9 multiplications and additions a second."""
        return 2 * self.products * clock_mhz / 1000


def choose_mix(costs: Sequence[ColumnCost], budget: Budget, *, granule: int = 1) -> Mix:
    """Return the mix of at most two kinds of ``costs`` with the most products a cycle.

    Of equal ones it is that with the fewest look-up tables, then the fewest DSP blocks. Two kinds
    are enough: with two resources, the best mix of any number of kinds needs no third but to use
    up what is left below a granule.

    Parameters
    ----------
    costs : sequence of ColumnCost
        The kinds that may be used, at least one.
    budget : Budget
        What there is.
    granule : int
        Products that come and go together: lanes x pixels of one column, or of several.

    Raises
    ------
    CelosiaError
        When not even one granule fits.
    ValueError
        When ``costs`` is empty or ``granule`` is below 1.
    """
    if not costs:
        raise ValueError("costs must name at least one kind of column")
    if granule < 1:
        raise ValueError(f"granule must be at least 1, not {granule!r}")
    best = min(_mixes(costs, budget, granule), key=lambda mix: (-mix.products, mix.lut, mix.dsp))
    if not best.products:
        raise CelosiaError(
            f"no granule of {granule} products fits {budget.lut:.0f} look-up tables and "
            f"{budget.dsp:.0f} DSP blocks: allow more of them, or a smaller granule"
        )
    return best


def _mixes(costs: Sequence[ColumnCost], budget: Budget, granule: int) -> Iterator[Mix]:
    """Yield every number of granules of each kind, filled up with each kind."""
    for first in costs:
        for count in range(budget.holds(first) // granule + 1):
            mine = Part(cost=first, products=count * granule)
            left = budget.less(first, mine.products)
            for second in costs:
                more = Part(cost=second, products=left.holds(second) // granule * granule)
                parts = [part for part in (mine, more) if part.products]
                parts.sort(key=lambda part: -part.products)
                yield Mix(parts=tuple(parts))


def _measured(
    weights: str, activation_bits: int, circuit: Circuit, lut: float, dsp: float = 0.0
) -> ColumnCost:
    return ColumnCost(
        weights=weights, activation_bits=activation_bits, circuit=circuit, lut=lut, dsp=dsp
    )


MEASURED = (
    _measured("fixed4", 4, Circuit.DSP, 3.75, 0.25),
    _measured("fixed4", 4, Circuit.LUTS, 28.56),
    _measured("fixed4", 8, Circuit.DSP, 3.25, 0.5),
    _measured("fixed4", 8, Circuit.LUTS, 42.06),
    _measured("fixed8", 4, Circuit.DSP, 3.25, 0.5),
    _measured("fixed8", 8, Circuit.DSP, 5.2, 0.5),
    _measured("fixed8", 8, Circuit.LANES, 18.62, 1),
    _measured("fixed8", 8, Circuit.LUTS, 84),
    _measured("pot_4", 4, Circuit.LUTS, 32.84),
    _measured("pot_4", 8, Circuit.LUTS, 44.03),
    _measured("sp2_4", 4, Circuit.LUTS, 23.78),
    _measured("sp2_4", 8, Circuit.LUTS, 35.81),
)
"""LUT cells and DSP48E2 blocks a product, by ``celosia bench pe block`` (Yosys, UltraScale+).

Of blocks of 16 lanes with 24-bit accumulators; DSP columns with their densest packing.
"""


def known_costs(weights: Sequence[str], activation_bits: int) -> tuple[ColumnCost, ...]:
    """Return what was measured with weights of these formats and activations of so many bits.

    Raises :class:`CelosiaError` for a format that was not measured so.
    """
    found = tuple(
        cost
        for cost in MEASURED
        if cost.weights in weights and cost.activation_bits == activation_bits
    )
    for name in weights:
        if name not in {cost.weights for cost in found}:
            pairs = sorted({f"{cost.weights} x {cost.activation_bits}" for cost in MEASURED})
            raise CelosiaError(
                f"no column was measured with weights of {name} and activations of "
                f"{activation_bits} bits: known are {', '.join(pairs)}"
            )
    return found

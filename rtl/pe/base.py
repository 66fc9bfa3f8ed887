"""What every multiplier offers."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from amaranth.hdl import Value

LANE_BITS = 32
"""Width of an operand lane and of a product.

Lanes and products are signed and as wide as a machine word, which is what makes simulation
fast. Synthesis keeps the bits that reach the narrower registers behind them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """What one lane adds to a sum: ``value + owed``.

    ``value`` is signed, ``owed`` 1 bit: a carry that an adder behind the lane takes in, or
    ``None`` where the lane never owes one.
    """

    value: Value
    owed: Value | None = None

    @property
    def total(self) -> Value:
        """What it adds, signed."""
        return self.value if self.owed is None else self.value + self.owed


class Multiplier(abc.ABC):
    """One weight of some format, decoded once and multiplied with any number of activations.

    The product of activation ``a`` is ``product(a) + owed``: a multiplier may leave a carry to
    the adder tree, where one addition settles the carries of all lanes and pixels.

    Subclasses are made of a module that takes the decoding, the weight's format, its code
    (unsigned, as wide as the format), a name that ends those of signals, and the ``width`` of
    products in bits.
    """

    @property
    def owed(self) -> Value | None:
        """The carry that products lack, 1 bit, or ``None`` where they never do."""
        return None

    @property
    def alone(self) -> bool:
        """Whether a product takes about a cycle, so that no adder should follow in the same."""
        return False

    @abc.abstractmethod
    def product(self, activation: Value) -> Value:
        """Return the product less ``owed``, modulo ``2**width``.

        ``activation`` is signed or unsigned as its shape says.
        """

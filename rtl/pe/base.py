"""What every multiplier offers."""

from __future__ import annotations

import abc

from amaranth.hdl import Value

LANE_BITS = 32
"""Width of an operand lane and of a product.

Lanes and products are signed and as wide as a machine word, which is what makes simulation
fast. Synthesis keeps the bits that reach the narrower registers behind them.
"""


class Multiplier(abc.ABC):
    """One weight of some format, decoded once and multiplied with any number of activations.

    The product of activation ``a`` is ``product(a) + owed``: a multiplier may leave a carry to
    the adder tree, where one addition settles the carries of all lanes and pixels.
    """

    @property
    def owed(self) -> Value | None:
        """The carry that products lack, 1 bit, or ``None`` where they never do."""
        return None

    @abc.abstractmethod
    def product(self, activation: Value) -> Value:
        """Return the product less ``owed``, modulo ``2**LANE_BITS``.

        ``activation`` has ``LANE_BITS`` bits, sign-extended.
        """

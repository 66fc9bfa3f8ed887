"""Product of an SP2 weight and an activation: two shifts and an addition.

The format is that of MSQ ("Mix and Match", HPCA 2021, section 3): a weight is the sum of two
powers of two, so a product costs look-up tables and no DSP block.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value

from celosia.models.formats import Format, Sp2
from celosia.rtl.pe.base import LANE_BITS, Multiplier
from celosia.rtl.pe.pot import CHOICE_BITS, power


class Sp2Multiplier(Multiplier):
    """The activation shifted by each of the code's two fields, added, inverted by its sign.

    A negative weight inverts all bits of the sum and owes the 1 that makes it a negation. With
    fields of more than two bits it is made as :class:`Sp2Rows` is: it would take too long.
    """

    def __init__(
        self, m: Module, weight_format: Format, code: Value, name: str, width: int = LANE_BITS
    ) -> None:
        if not isinstance(weight_format, Sp2):
            raise TypeError(f"weight_format must be an Sp2, not {weight_format!r}")
        self._m, self._name, self._width = m, name, width
        self._q2_shift = weight_format.q2_shift
        q2, q1 = code[: weight_format.m2], code[weight_format.m2 : -1]
        self._fields = {"q1": q1, "q2": q2}
        if not self.alone:
            self._decoded = [self._decode(*field) for field in self._fields.items()]
        self._sign = code[-1]
        self._invert = Signal(width, name=f"invert_{name}")
        m.d.comb += self._invert.eq(self._sign.replicate(width))

    def _decode(self, field_name: str, field: Value) -> tuple[Signal, Signal]:
        """Return a mask that is 0 where ``field`` is, and the shift that it stands for."""
        some = Signal(name=f"some_{field_name}_{self._name}")
        mask = Signal(self._width, name=f"mask_{field_name}_{self._name}")
        shift = Signal(max(1, len(field)), name=f"shift_{field_name}_{self._name}")
        self._m.d.comb += [
            some.eq(field.any()),
            mask.eq(some.replicate(self._width)),
            shift.eq(field - some),
        ]
        return mask, shift

    @property
    def owed(self) -> Value:
        return self._sign

    @property
    def alone(self) -> bool:
        return any(len(field) > CHOICE_BITS for field in self._fields.values())

    def product(self, activation: Value) -> Value:
        if self.alone:
            return self._in_rows(activation)
        q1, q2 = self._shifted(activation)
        high = (q2 << self._q2_shift)[: self._width]
        return (q1 + high)[: self._width] ^ self._invert

    def _in_rows(self, activation: Value) -> Value:
        """Return the product as of :class:`Sp2Rows`."""
        q1, q2 = (value ^ self._invert for value in self._shifted(activation))
        rest = self._width - self._q2_shift
        high = (q1[self._q2_shift :] + q2[:rest] + self._sign)[:rest]
        return Cat(q1[: self._q2_shift], high)

    def _shifted(self, activation: Value) -> list[Value]:
        """Return the activation times q1, and times q2 in units of q2's smallest power."""
        if not self.alone:
            return [((activation & mask) << n)[: self._width] for mask, n in self._decoded]
        shifted: list[Value] = []
        for field_name, field in self._fields.items():
            shifted.append(Signal(self._width, name=f"{field_name}_{self._name}"))
            product = power(self._m, field, activation, f"{field_name}_{self._name}")
            self._m.d.comb += shifted[-1].eq(product)
        return shifted


class Sp2Rows(Sp2Multiplier):
    """The same with both summands inverted by the sign, and the sign carried into their addition.

    That makes the inverse of the sum too. It takes fewer look-up tables, each bit of the sum
    being one of six inputs with its carry, and more of a simulator's instructions.
    """

    def product(self, activation: Value) -> Value:
        return self._in_rows(activation)

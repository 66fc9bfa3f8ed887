"""Products of a fixed-point weight and an activation."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from celosia.models.formats import Fixed, Format
from celosia.rtl.pe.base import LANE_BITS, Multiplier


class FixedMultiplier(Multiplier):
    """The code taken as an integer, signed where the format is, times the activation.

    What it is made of, a DSP block or look-up tables, is left to synthesis.
    """

    def __init__(
        self, m: Module, weight_format: Format, code: Value, name: str, width: int = LANE_BITS
    ) -> None:
        self._weight = Signal(signed(width), name=f"weight_{name}")
        self._width = width
        m.d.comb += self._weight.eq(_integer(weight_format, code))

    @property
    def alone(self) -> bool:
        return True

    def product(self, activation: Value) -> Value:
        return (activation * self._weight)[: self._width]


class FixedRows(Multiplier):
    """The sum of one row for each two bits of the weight: look-up tables, never a DSP block.

    The weight is recoded to digits -2, -1, 0, 1 and 2 (Booth's recoding, radix 4). Choosing a
    digit's multiple takes three bits of the weight and two of the activation, so a six-input
    table adds it to the row before in one go; a negative digit inverts its row, and the 1 that
    makes it a negation is the carry-in of the row's own addition. The lowest row is added to
    nothing: its carry is owed.
    """

    def __init__(
        self, m: Module, weight_format: Format, code: Value, name: str, width: int = LANE_BITS
    ) -> None:
        weight = _integer(weight_format, code)
        self._m, self._name, self._width = m, name, width
        self._digits = []
        for index in range(0, len(weight), 2):
            below = weight[index - 1] if index else Const(0, 1)
            low, high = (weight[min(index + n, len(weight) - 1)] for n in (0, 1))
            one, two = Signal(name=f"one_{name}_{index}"), Signal(name=f"two_{name}_{index}")
            m.d.comb += [one.eq(low ^ below), two.eq((high ^ low) & ~one)]
            self._digits.append((one, two, high))

    @property
    def owed(self) -> Value:
        return self._digits[0][2]

    def product(self, activation: Value) -> Value:
        total: Value = Const(0, 0)
        is_signed = activation.shape().signed
        for index, (one, two, negative) in enumerate(self._digits):
            done = 2 * index
            bits = min(len(activation) + 2, self._width - done)
            top = activation[-1] if is_signed else Const(0, 1)
            multiple = Mux(one, Cat(activation, top), Mux(two, Cat(Const(0, 1), activation), 0))
            # The bit above an unsigned multiple is 0 whatever the digit: kept out of the choice.
            whole = multiple if is_signed else Cat(multiple, top)
            row = Signal(signed(min(bits, len(whole))), name=f"row_{self._name}_{done}")
            self._m.d.comb += row.eq(whole ^ negative.replicate(len(whole)))
            if index:
                high = Signal(signed(bits), name=f"high_{self._name}_{done}")
                self._m.d.comb += high.eq(total[done:].as_signed() + row + negative)
                total = Cat(total[:done], high).as_signed()
            else:
                total = row
        product = Signal(signed(self._width), name=f"product_{self._name}")
        self._m.d.comb += product.eq(total)
        return product


def _integer(weight_format: Format, code: Value) -> Value:
    """Return the signed integer that ``code`` stands for."""
    if not isinstance(weight_format, Fixed):
        raise TypeError(f"weight_format must be a Fixed, not {weight_format!r}")
    return code.as_signed() if weight_format.signed else Cat(code, Const(0, 1)).as_signed()

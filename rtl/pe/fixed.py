"""Products of a fixed-point weight and an activation."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from celosia.models.formats import Fixed, Format
from celosia.rtl.pe.base import LANE_BITS, Multiplier
from celosia.rtl.tree import carried, paired


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The sum of ``count`` rows from row ``first`` on, in units of that row: ``value + owed``."""

    value: Value
    owed: Value
    first: int
    count: int


class FixedRows(Multiplier):
    """The sum of one row for each two bits of the weight: look-up tables, never a DSP block.

    The weight is recoded to digits -2, -1, 0, 1 and 2 (Booth's recoding, radix 4). Choosing a
    digit's multiple takes three bits of the weight and two of the activation, so a six-input
    table adds it to the row before in one go; a negative digit inverts its row, and the 1 that
    makes it a negation is the carry-in of an addition. Of more than three rows, pairs are added
    first; where that leaves three sums, they become two without carries before they are added.
    The lowest row is added to nothing: its carry is owed.
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

    @property
    def alone(self) -> bool:
        return len(self._digits) > 2

    def product(self, activation: Value) -> Value:
        rows = [self._row(index, activation) for index in range(len(self._digits))]
        add = functools.partial(self._added, activation)
        if len(rows) <= 3:
            rows = [functools.reduce(add, rows)]
        while len(rows) > 1:
            rows = paired(rows, add)
            if len(rows) == 3:
                rows = [self._added_three(activation, *rows)]
        product = Signal(signed(self._width), name=f"product_{self._name}")
        self._m.d.comb += product.eq(rows[0].value)
        return product

    def _row(self, index: int, activation: Value) -> _Rows:
        """Return the multiple that digit ``index`` chooses, inverted where that is negative."""
        one, two, negative = self._digits[index]
        is_signed = activation.shape().signed
        bits = min(len(activation) + 2, self._width - 2 * index)
        top = activation[-1] if is_signed else Const(0, 1)
        multiple = Mux(one, Cat(activation, top), Mux(two, Cat(Const(0, 1), activation), 0))
        # The bit above an unsigned multiple is 0 whatever the digit: kept out of the choice.
        whole = multiple if is_signed else Cat(multiple, top)
        row = Signal(signed(min(bits, len(whole))), name=f"row_{self._name}_{2 * index}")
        self._m.d.comb += row.eq(whole ^ negative.replicate(len(whole)))
        return _Rows(value=row, owed=negative, first=index, count=1)

    def _added_three(self, activation: Value, low: _Rows, middle: _Rows, high: _Rows) -> _Rows:
        """Return the sum of three: sums and carries of each bit, added with both rows' carries."""
        place, apart = 2 * middle.first, 2 * low.count
        count = middle.count + high.count
        bits = min(len(activation) + 2 * count, self._width - place)
        # Inverted as a whole the highest owes its carry at the lowest bit of all.
        owed = high.owed.replicate(2 * middle.count)
        given = (low.value[apart:].as_signed(), middle.value, Cat(owed, high.value).as_signed())
        rows = [Signal(signed(bits), name=f"part_{self._name}_{n}") for n in range(3)]
        self._m.d.comb += [row.eq(value) for row, value in zip(rows, given, strict=True)]
        one, two, three = (row.as_unsigned() for row in rows)
        carries = (one & two) | (one & three) | (two & three)
        both = one ^ two ^ three, Cat(middle.owed, carries[:-1])
        total = Signal(signed(bits), name=f"high_{self._name}_{place}_{apart}")
        self._m.d.comb += total.eq(carried(*both, high.owed)[:bits])
        value = Cat(low.value[:apart], total).as_signed()
        return _Rows(value=value, owed=low.owed, first=low.first, count=low.count + count)

    def _added(self, activation: Value, low: _Rows, high: _Rows) -> _Rows:
        """Return the sum of rows and those above them, whose carry goes into the addition."""
        place, apart = 2 * high.first, 2 * low.count
        bits = min(len(activation) + 2 * high.count, self._width - place)
        total = Signal(signed(bits), name=f"high_{self._name}_{place}_{apart}")
        self._m.d.comb += total.eq(low.value[apart:].as_signed() + high.value + high.owed)
        value = Cat(low.value[:apart], total).as_signed()
        return _Rows(value=value, owed=low.owed, first=low.first, count=low.count + high.count)


def _integer(weight_format: Format, code: Value) -> Value:
    """Return the signed integer that ``code`` stands for."""
    if not isinstance(weight_format, Fixed):
        raise TypeError(f"weight_format must be a Fixed, not {weight_format!r}")
    return code.as_signed() if weight_format.signed else Cat(code, Const(0, 1)).as_signed()

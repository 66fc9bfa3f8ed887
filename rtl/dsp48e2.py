"""The DSP48E2 block of UltraScale and UltraScale+ (AMD UG579), as far as the engine uses it."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.dsp import MAX_DELAY, NARROW_BITS, SUM_BITS, WIDE_BITS
from celosia.rtl.shared import Primitive


class Dsp48e2(Primitive):
    """A DSP48E2: (d - a) * b, added to c or to the sum of the DSP before it in a chain.

    The sum is there ``delay``, and 1 for each of ``product_register`` and ``sum_register``, cycles
    after a, b and d; c or the sum before is taken with the product. Registers begin with 0 and
    have no reset.

    Parameters
    ----------
    delay : int
        Registers in front of the multiplication, 0 to 2.
    product_register : bool
        Whether the product is registered (MREG).
    sum_register : bool
        Whether the sum is registered (PREG).
    first : bool
        Whether it begins a chain: it adds ``c``, and otherwise ``sum_in``.
    last : bool
        Whether it ends a chain: its sum goes to ``p``, and otherwise to ``sum_out``.

    Members
    -------
    a, d : In(27)
        Factor ``d - a``, modulo ``2**27``, two's complement.
    b : In(18)
        The other factor, two's complement.
    c : In(48)
        Only where ``first``; constant or held while it is used.
    sum_in : In(48)
        Only where not ``first``: ``sum_out`` of the DSP before (PCIN).
    p : Out(48)
        Only where ``last``.
    sum_out : Out(48)
        Only where not ``last`` (PCOUT).
    """

    def __init__(
        self, *, delay: int, product_register: bool, sum_register: bool, first: bool, last: bool
    ) -> None:
        if not 0 <= delay <= MAX_DELAY:
            raise ValueError(f"delay must be in 0..{MAX_DELAY}, not {delay!r}")
        self._delay, self._first, self._last = delay, first, last
        self._product_register, self._sum_register = product_register, sum_register
        ends = {(True, True): "single", (True, False): "first", (False, True): "last"}
        registers = f"{'m' if product_register else ''}{'p' if sum_register else ''}"
        super().__init__(
            {
                "a": In(WIDE_BITS),
                "b": In(NARROW_BITS),
                "c" if first else "sum_in": In(SUM_BITS),
                "d": In(WIDE_BITS),
                "p" if last else "sum_out": Out(SUM_BITS),
            },
            name=f"dsp48e2_{ends.get((first, last), 'middle')}_{delay}{registers}",
            parameters=(delay, product_register, sum_register, first, last),
        )

    @property
    def latency(self) -> int:
        """Cycles from operands to sum."""
        return self._delay + self._product_register + self._sum_register

    @property
    def _addend(self) -> Value:
        return Value.cast(self.c if self._first else self.sum_in)

    @property
    def _sum(self) -> Value:
        return Value.cast(self.p if self._last else self.sum_out)

    def build(self) -> Module:
        """Return the model: the same bits in the same cycles, for what lacks the primitive."""
        m = Module()
        wide = Signal(signed(WIDE_BITS))
        narrow = Signal(signed(NARROW_BITS))
        product = Signal(signed(WIDE_BITS + NARROW_BITS))
        m.d.comb += wide.eq(_registered(m, (self.d - self.a)[:WIDE_BITS], self._delay, "wide"))
        m.d.comb += narrow.eq(_registered(m, self.b, self._delay, "narrow"))
        m.d.comb += product.eq(wide * narrow)
        addend = self._addend
        kept = _registered(m, product, self._product_register, "product").as_signed()
        total = (addend + kept)[:SUM_BITS]
        m.d.comb += self._sum.eq(_registered(m, total, self._sum_register, "sum"))
        return m

    def build_primitive(self) -> Module:
        """Return the primitive, with its attributes and control inputs fixed."""
        m = Module()
        delay = self._delay
        # The wide factor's registers are behind the adder (ADREG) and in front of it.
        attributes = {
            "AMULTSEL": "AD",
            "BMULTSEL": "B",
            "PREADDINSEL": "A",
            "USE_MULT": "MULTIPLY",
            "AREG": max(delay - 1, 0),
            "ACASCREG": max(delay - 1, 0),
            "DREG": max(delay - 1, 0),
            "ADREG": min(delay, 1),
            "BREG": delay,
            "BCASCREG": delay,
            "CREG": 0,
            "MREG": int(self._product_register),
            "PREG": int(self._sum_register),
            **dict.fromkeys(
                ("ALUMODEREG", "CARRYINREG", "CARRYINSELREG", "INMODEREG", "OPMODEREG"), 0
            ),
        }
        # W = 0, Z = C or PCIN, Y and X = the product; then Z + X + Y. The adder: D - A.
        controls: dict[str, Value] = {
            "OPMODE": Const(0b00_011_01_01 if self._first else 0b00_001_01_01, 9),
            "ALUMODE": Const(0, 4),
            "INMODE": Const(0b01100, 5),
            "CARRYINSEL": Const(0, 3),
            "CARRYIN": Const(0),
        }
        unused = {
            "ACIN": 30, "BCIN": 18, "CARRYCASCIN": 1, "MULTSIGNIN": 1,
            ("PCIN" if self._first else "C"): SUM_BITS,
        }  # fmt: skip
        enables = (
            "A1", "A2", "B1", "B2", "C", "D", "AD", "M", "P", "ALUMODE", "CARRYIN", "CTRL", "INMODE"
        )  # fmt: skip
        resets = ("A", "B", "C", "D", "M", "P", "ALLCARRYIN", "ALUMODE", "CTRL", "INMODE")
        ports: dict[str, Any] = {
            **{f"p_{name}": value for name, value in attributes.items()},
            **{f"i_{name}": value for name, value in controls.items()},
            **{f"i_{name}": Const(0, width) for name, width in unused.items()},
            **{f"i_CE{name}": Const(1) for name in enables},
            **{f"i_RST{name}": Const(0) for name in resets},
            "i_CLK": ClockSignal(),
            "i_A": Cat(self.a, Const(0, 3)),  # the multiplication takes 27 of 30 bits
            "i_B": self.b,
            "i_D": self.d,
            ("i_C" if self._first else "i_PCIN"): self._addend,
            ("o_P" if self._last else "o_PCOUT"): self._sum,
        }
        m.submodules.dsp = Instance("DSP48E2", **ports)
        return m


def _registered(m: Module, value: Value, count: int, name: str) -> Value:
    """Return ``value`` behind ``count`` registers."""
    for index in range(count):
        register = Signal(len(value), name=f"{name}_{index}", reset_less=True)
        m.d.sync += register.eq(value)
        value = register
    return value

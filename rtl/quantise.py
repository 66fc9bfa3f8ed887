"""From vectors of wide values to elements and scales: the post-processing unit of VS-Quant."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.microarchitecture import VECTOR_LATENCY
from celosia.models.formats import E8M0, BlockScaling, Fixed, IntScale
from celosia.rtl.shared import Shared


def reciprocal(divisor: int, most: int) -> tuple[int, int]:
    """Return (r, q) with ``n * r >> q == n // divisor`` for every n in 0..most.

    r is ``2**q / divisor`` rounded up. Its error, below 1, adds less than ``n / 2**q`` to the
    quotient, which is less than the ``1 / divisor`` that is left below the next integer.
    """
    q = most.bit_length() + divisor.bit_length()
    return -(-(1 << q) // divisor), q


class VectorQuantiser(Shared):
    """Finds a vector's scale from its largest magnitude and divides by it, rounding.

    :func:`celosia.models.vectors.quantise_vectors` in ``VECTOR_LATENCY`` cycles, a vector a
    cycle: magnitudes; the largest; the scale; its reciprocal; the elements. Divisions are
    multiplications by rounded-up reciprocals that are exact over the range.

    Parameters
    ----------
    scaling : BlockScaling
        Integer or power-of-two scales, and how many values share one.
    element_bits : int
        Bits of an element, its sign included where there is one.
    wide_bits : int
        Bits of a value, two's complement.

    Members
    -------
    values : In(signed(wide_bits)).array(scaling.vector)
        Magnitudes up to what an element times a scale can reach.
    is_signed : In(1)
        Elements are of the signed format.
    elements : Out(signed(element_bits + 1)).array(scaling.vector)
    scale : Out(scaling.scale.bits)
        The scale's code.
    """

    def __init__(self, *, scaling: BlockScaling, element_bits: int, wide_bits: int) -> None:
        if not isinstance(scaling.scale, (IntScale, E8M0)):
            raise ValueError(
                f"scaling must have integer or power-of-two scales, not {scaling.scale.name}"
            )
        self._scaling, self._element_bits, self._wide_bits = scaling, element_bits, wide_bits
        self._formats = [Fixed(bits=element_bits, signed=is_signed) for is_signed in (False, True)]
        super().__init__(
            {
                "values": In(signed(wide_bits)).array(scaling.vector),
                "is_signed": In(1),
                "elements": Out(signed(element_bits + 1)).array(scaling.vector),
                "scale": Out(scaling.scale.bits),
            },
            name=f"vector_quantiser_{element_bits}_{scaling.scale.name}_v{scaling.vector}",
            parameters=(scaling.scale, scaling.vector, element_bits, wide_bits),
        )

    def build(self) -> Module:
        m = Module()
        kind = [self.is_signed]
        for stage in range(VECTOR_LATENCY - 1):
            kind.append(Signal(name=f"is_signed_{stage}", reset_less=True))
            m.d.sync += kind[-1].eq(kind[-2])
        negative, magnitude = [], []
        for lane, value in enumerate(self.values):
            negative.append(self._register(m, value < 0, f"negative_{lane}"))
            bits = Signal(self._wide_bits, name=f"absolute_{lane}")
            m.d.comb += bits.eq(Mux(value < 0, -value, value))
            magnitude.append(self._register(m, bits, f"magnitude_{lane}"))
        most = self._register(m, _largest(magnitude), "most")
        code = self._register(m, self._code(m, most, kind[2]), "code")
        divide: Any = self._register(m, self._reciprocal(code), "reciprocal")
        again = self._register(m, code, "code_again")
        for lane, element in enumerate(self.elements):
            value = self._delayed(m, magnitude[lane], f"value_{lane}")
            sign = self._delayed(m, negative[lane], f"sign_{lane}")
            rounded = self._quotient(value, again, divide, kind[4])
            m.d.sync += element.eq(Mux(sign, -rounded, rounded))
        m.d.sync += self.scale.eq(again)
        return m

    @staticmethod
    def _register(m: Module, value: Value, name: str) -> Signal:
        register = Signal(value.shape(), name=name, reset_less=True)
        m.d.sync += register.eq(value)
        return register

    def _delayed(self, m: Module, value: Value, name: str) -> Value:
        """Delay what was registered with the magnitudes until the elements are made."""
        for stage in range(VECTOR_LATENCY - 2):
            value = self._register(m, value, f"{name}_{stage}")
        return value

    def _limit(self) -> int:
        return max(element.high for element in self._formats) * self._scaling.scale.high

    def _code(self, m: Module, most: Value, is_signed: Value) -> Value:
        """Return the code of the scale for the largest magnitude ``most``."""
        codes = []
        for element in self._formats:
            if isinstance(self._scaling.scale, IntScale):
                factor, shift = reciprocal(element.high, self._limit() + element.high - 1)
                codes.append(((most + (element.high - 1)) * factor) >> shift)
            else:
                digits = element.high.bit_length()
                above = [
                    most[digits + k :].any() for k in range(len(self._scaling.scale.values) - 1)
                ]
                codes.append(sum(above[1:], above[0]))
        code = Signal(self._scaling.scale.bits)
        m.d.comb += code.eq(Mux(is_signed, codes[1], codes[0]))
        return code

    @property
    def _most(self) -> int:
        """Greatest dividend of an element: twice the value, and the scale."""
        return 2 * self._limit() + self._scaling.scale.high

    @property
    def _shift(self) -> int:
        """What every scale's reciprocal is shifted by."""
        return reciprocal(2 * self._scaling.scale.high, self._most)[1]

    def _reciprocal(self, code: Value) -> Value:
        """Return what dividing by twice the scale multiplies by; of no use to powers of two."""
        if not isinstance(self._scaling.scale, IntScale):
            return code
        scales = self._scaling.scale.decode_table().tolist()
        # A scale of 0 has values of 0 only.
        factors = [-(-(1 << self._shift) // (2 * scale)) if scale else 0 for scale in scales]
        width = max(factors).bit_length()
        return Array([Const(factor, width) for factor in factors])[code]

    def _quotient(self, value: Value, code: Value, factor: Value, is_signed: Value) -> Value:
        """Return the value over the scale, rounded, at most the largest element."""
        if isinstance(self._scaling.scale, IntScale):
            return ((((value << 1) + code) * factor) >> self._shift)[: self._element_bits]
        one = ((value << 1) >> code)[: self._wide_bits + 1]
        rounded = (one + 1) >> 1
        highs = [element.high for element in self._formats]
        high = Mux(is_signed, highs[1], highs[0])
        return Mux(rounded > high, high, rounded)[: self._element_bits]


def _largest(values: list[Signal]) -> Value:
    """Return the greatest of unsigned values."""
    terms: list[Value] = list(values)
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        rest = terms[-1:] if len(terms) % 2 else []
        terms = [Mux(a > b, a, b) for a, b in pairs] + rest
    return terms[0]

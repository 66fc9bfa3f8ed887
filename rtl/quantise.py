"""From vectors of wide values to elements and scales: the post-processing unit of VS-Quant."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.microarchitecture import VECTOR_LATENCY
from celosia.models.formats import (
    E8M0,
    UE4M3,
    BlockScaling,
    Element,
    Esb,
    IntScale,
    element_formats,
)
from celosia.rtl.pe.scale import decode_scale
from celosia.rtl.shared import Shared


def reciprocal(divisor: int, most: int) -> tuple[int, int]:
    """Return (r, q) with ``n * r >> q == n // divisor`` for every n in 0..most.

    r is ``2**q / divisor`` rounded up. Its error, below 1, adds less than ``n / 2**q`` to the
    quotient, which is less than the ``1 / divisor`` that is left below the next integer. A multiple
    of the divisor leaves less than ``2**most.bit_length()`` of the ``2**q``, all else more.
    """
    q = most.bit_length() + divisor.bit_length()
    return -(-(1 << q) // divisor), q


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotient:
    """Twice a magnitude over the scale, rounded down; ``inexact`` where something was lost."""

    halves: Value
    inexact: Value


class VectorQuantiser(Shared):
    """Finds a vector's scale from its largest magnitude and divides by it, rounding.

    :func:`celosia.models.vectors.quantise_vectors` in ``VECTOR_LATENCY`` cycles, a vector a
    cycle: magnitudes; the largest; the scale; its reciprocal; quotients; elements. Divisions are
    multiplications by rounded-up reciprocals that are exact over the range.

    Parameters
    ----------
    scaling : BlockScaling
        Scales, and how many values share one.
    elements : Element
        Format of the elements; of one without a sign there are both,
        :func:`~celosia.models.formats.element_formats`.
    wide_bits : int
        Bits of a value, two's complement.

    Members
    -------
    values : In(signed(wide_bits)).array(scaling.vector)
        Magnitudes up to what an element times a scale can reach.
    is_signed : In(1)
        Elements are of the format with a sign, where there are two.
    elements : Out(signed(elements.bits + 1)).array(scaling.vector)
        Fixed point as integers, others as codes; 0 is code 0.
    scale : Out(scaling.scale.bits)
        The scale's code.

    Raises
    ------
    ValueError
        If the scales are of a kind that no unit makes.
    """

    def __init__(self, *, scaling: BlockScaling, elements: Element, wide_bits: int) -> None:
        if not isinstance(scaling.scale, (IntScale, E8M0, UE4M3)):
            raise ValueError(f"no unit makes scales of {scaling.scale.name} for activations")
        self._scaling, self._wide_bits = scaling, wide_bits
        self._formats = element_formats(elements)
        self._high = max(element.high for element in self._formats)
        super().__init__(
            {
                "values": In(signed(wide_bits)).array(scaling.vector),
                "is_signed": In(1),
                "elements": Out(signed(elements.bits + 1)).array(scaling.vector),
                "scale": Out(scaling.scale.bits),
            },
            name=f"vector_quantiser_{elements.name}_{scaling.scale.name}_v{scaling.vector}",
            parameters=(scaling.scale, scaling.vector, elements, wide_bits),
        )

    def build(self) -> Module:
        m = Module()
        kind: list[Value] = [self.is_signed]
        for stage in range(VECTOR_LATENCY - 1):
            kind.append(self._register(m, kind[-1], f"is_signed_{stage}"))
        negative, magnitude = [], []
        for lane, value in enumerate(self.values):
            negative.append(self._register(m, value < 0, f"negative_{lane}"))
            bits = Signal(self._wide_bits, name=f"absolute_{lane}")
            m.d.comb += bits.eq(Mux(value < 0, -value, value))
            magnitude.append(self._register(m, bits, f"magnitude_{lane}"))
        most = self._register(m, _largest(magnitude), "most")
        code = self._register(m, self._code(m, most, kind[2]), "code")
        factor = self._register(m, self._factor(code), "reciprocal")
        again = self._register(m, code, "code_again")
        for lane, element in enumerate(self.elements):
            value = self._delayed(m, magnitude[lane], VECTOR_LATENCY - 3, f"value_{lane}")
            sign = self._delayed(m, negative[lane], VECTOR_LATENCY - 2, f"sign_{lane}")
            found = self._quotient(m, value, again, factor, str(lane))
            halves = self._register(m, found.halves, f"halves_{lane}")
            inexact = self._register(m, found.inexact, f"inexact_{lane}")
            rounded = [
                self._element(m, fmt, Quotient(halves=halves, inexact=inexact), sign, f"{lane}_{n}")
                for n, fmt in enumerate(self._formats)
            ]
            m.d.sync += element.eq(self._chosen(kind[5], rounded))
        m.d.sync += self.scale.eq(self._register(m, again, "code_last"))
        return m

    @staticmethod
    def _register(m: Module, value: Value, name: str) -> Signal:
        register = Signal(value.shape(), name=name, reset_less=True)
        m.d.sync += register.eq(value)
        return register

    def _delayed(self, m: Module, value: Value, cycles: int, name: str) -> Value:
        for stage in range(cycles):
            value = self._register(m, value, f"{name}_{stage}")
        return value

    @staticmethod
    def _chosen(is_signed: Value, values: list[Value]) -> Value:
        """Return what is meant for elements with a sign or without."""
        return values[0] if len(values) == 1 else Mux(is_signed, values[1], values[0])

    # Scales

    def _code(self, m: Module, most: Value, is_signed: Value) -> Value:
        """Return the code of the scale for the largest magnitude ``most``."""
        codes = []
        for n, element in enumerate(self._formats):
            match self._scaling.scale:
                case IntScale():
                    limit = element.high * self._scaling.scale.top
                    factor, shift = reciprocal(element.high, limit + element.high - 1)
                    codes.append(((most + (element.high - 1)) * factor) >> shift)
                case UE4M3():
                    codes.append(_float_code(m, most, element.high, str(n)))
                case _:
                    digits = element.high.bit_length()
                    binades = range(len(self._scaling.scale.values) - 1)
                    passed = [most[digits + k :].any() for k in binades]
                    codes.append(_counted(m, passed, f"exponent_{n}"))
        code = Signal(self._scaling.scale.bits)
        m.d.comb += code.eq(self._chosen(is_signed, codes))
        return code

    # Quotients

    @property
    def _most(self) -> int:
        """Greatest dividend: twice the value, or what is left of it over the float's power of two.

        A float's significand is at most half too small.
        """
        if isinstance(self._scaling.scale, UE4M3):
            return self._high * (2 * 15 + 1)
        return 2 * self._high * self._scaling.scale.top

    @property
    def _shift(self) -> int:
        """What the product with any reciprocal is shifted by."""
        top = 15 if isinstance(self._scaling.scale, UE4M3) else self._scaling.scale.top
        return reciprocal(top, self._most)[1]

    def _factor(self, code: Value) -> Value:
        """Return the reciprocal of the scale, or of its significand; powers of two need none."""
        match self._scaling.scale:
            case IntScale():
                divisors, index = self._scaling.scale.decode_table().tolist(), code
            case UE4M3():
                divisors = list(range(16))
                index = decode_scale(self._scaling.scale, code).significand
            case _:
                return Const(0, 1)
        # A scale of 0 has values of 0 only.
        factors = [-(-(1 << self._shift) // divisor) if divisor else 0 for divisor in divisors]
        width = max(factors).bit_length()
        return Array([Const(factor, width) for factor in factors])[index]

    def _quotient(self, m: Module, value: Value, code: Value, factor: Value, name: str) -> Quotient:
        """Return twice the value over the scale of ``code``."""
        bits = (4 * self._high).bit_length()
        twice = value << 1
        lost: Value = Const(0, 1)
        shift = decode_scale(self._scaling.scale, code).shift
        if shift is not None:
            left = Signal(len(twice), name=f"left_{name}")
            lost = (twice & ((1 << shift) - 1)[: len(twice)]).any()
            m.d.comb += left.eq(twice >> shift)
            twice = left
        if isinstance(self._scaling.scale, E8M0):
            return Quotient(halves=twice[:bits], inexact=lost)
        product = Signal(self._shift + bits, name=f"product_{name}")
        m.d.comb += product.eq(twice[: self._most.bit_length()] * factor)
        rest = product[self._most.bit_length() : self._shift].any()
        return Quotient(halves=product[self._shift :], inexact=lost | rest)

    # Elements

    @staticmethod
    def _element(m: Module, fmt: Element, found: Quotient, sign: Value, name: str) -> Value:
        """Return the nearest element, halves to the even code, at most the largest."""
        magnitude, top = found.halves, fmt.high
        binade: Value = Const(0, 1)
        linear, inexact = fmt.bits, found.inexact
        if isinstance(fmt, Esb):
            linear, top = fmt.linear, int(fmt.encode(fmt.values[-1:])[0])
            passed = [magnitude[k:].any() for k in range(linear + 2, len(magnitude))]
            binade = _counted(m, passed, f"binade_{name}")
            inexact = inexact | (magnitude & ((1 << binade) - 1)[: len(magnitude)]).any()
            magnitude = magnitude >> binade
        # A binade has 2**linear codes, so what is rounded up to the next one has the right code.
        code = Signal(len(magnitude) + linear, name=f"code_{name}")
        m.d.comb += code.eq((binade << linear) + magnitude[1:])
        rounded = Signal(len(code) + 1, name=f"rounded_{name}")
        m.d.comb += rounded.eq(code + (magnitude[0] & (inexact | code[0])))
        size = Mux(rounded > top, top, rounded)[: top.bit_length()]
        if not isinstance(fmt, Esb):
            return Mux(sign, -size, size)
        return Cat(size, sign & size.any(), 0) if fmt.signed else Cat(size, 0)


def _float_code(m: Module, most: Value, high: int, name: str) -> Value:
    """Return the code of UE4M3 nearest to ``most / high``, halves to even, above 0.

    A binade has 8 codes, so what is rounded up to the next one has the right code.
    """
    binade = _counted(m, [most >= (16 * high << k) for k in range(14)], f"binade_{name}")
    twice = most << 1
    inexact = Signal(name=f"inexact_{name}")
    m.d.comb += inexact.eq((twice & ((1 << binade) - 1)[: len(twice)]).any())
    left = Signal((32 * high).bit_length(), name=f"left_scale_{name}")
    m.d.comb += left.eq(twice >> binade)
    # Halves between integers k and k + 1 go to the even one.
    passed = [
        (left > (2 * k + 1) * high) | ((left == (2 * k + 1) * high) & (inexact | k % 2))
        for k in range(16)
    ]
    code = Signal(7, name=f"float_code_{name}")
    m.d.comb += code.eq((binade << 3) + _counted(m, passed, f"passed_{name}"))
    return Mux(code.any(), code, 1)


def _counted(m: Module, flags: list[Value], name: str) -> Value:
    """Return how many of the flags are set, no wider than it must be: it shifts."""
    count = Signal(range(len(flags) + 1), name=name)
    m.d.comb += count.eq(sum(flags, start=Const(0, 1)))
    return count


def _largest(values: list[Signal]) -> Value:
    """Return the greatest of unsigned values."""
    terms: list[Value] = list(values)
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        rest = terms[-1:] if len(terms) % 2 else []
        terms = [Mux(a > b, a, b) for a, b in pairs] + rest
    return terms[0]

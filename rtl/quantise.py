"""From vectors of wide values to elements and scales: the post-processing unit of VS-Quant."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.microarchitecture import QuantiserStages
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
from celosia.rtl.tree import paired


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
    """Twice a magnitude over the scale, rounded down.

    ``inexact`` where something was lost; ``bounded`` where it is at most twice the largest element.
    """

    halves: Value
    inexact: Value
    bounded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Divisor:
    """A vector's scale: its reciprocal, of a float the significand's.

    Of floats with the shift to the right that goes before, and a mask of the bits that it drops.
    """

    reciprocal: Value
    shift: Value | None = None
    lost: Value | None = None


class VectorQuantiser(Shared):
    """Finds a vector's scale from its largest magnitude and divides by it, rounding.

    :func:`celosia.models.vectors.quantise_vectors`, a vector a cycle, in the cycles of its
    :class:`~celosia.dataflow.microarchitecture.QuantiserStages`: magnitudes; the largest; the
    scale; its reciprocal; quotients; elements. Divisions are multiplications by rounded-up
    reciprocals that are exact over the range.

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
        self._stages = QuantiserStages.of(scaling, elements)
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
        stages = self._stages
        kind: list[Value] = [self.is_signed]
        for stage in range(stages.latency - 1):
            kind.append(_register(m, kind[-1], f"is_signed_{stage}"))
        negative, magnitude = [], []
        for lane, value in enumerate(self.values):
            negative.append(_register(m, value < 0, f"negative_{lane}"))
            bits = Signal(self._wide_bits, name=f"absolute_{lane}")
            m.d.comb += bits.eq(Mux(value < 0, -value, value))
            magnitude.append(_register(m, bits, f"magnitude_{lane}"))
        most = self._largest(m, magnitude)
        found = self._code(m, most, kind[stages.largest + stages.code])
        code = _register(m, found, "code")
        divisor = self._divisor(m, code)
        wait = stages.largest + stages.code + 1
        for lane, element in enumerate(self.elements):
            value = _delayed(m, magnitude[lane], wait, f"value_{lane}")
            last = wait + stages.quotient + stages.element - 1
            sign = _delayed(m, negative[lane], last, f"sign_{lane}")
            quotient = self._quotient(m, value, divisor, str(lane))
            rounded = [
                self._element(m, fmt, quotient, sign, f"{lane}_{n}")
                for n, fmt in enumerate(self._formats)
            ]
            m.d.sync += element.eq(self._chosen(kind[-1], rounded))
        again = stages.quotient + stages.element
        m.d.sync += self.scale.eq(_delayed(m, code, again, "code"))
        return m

    def _largest(self, m: Module, values: list[Signal]) -> Value:
        """Return the greatest of unsigned values, or one with the same highest bit."""
        if isinstance(self._scaling.scale, E8M0):
            return _register(m, functools.reduce(operator.or_, values), "most")
        terms: list[Value] = [*values]
        for stage in range(self._stages.largest):
            larger = paired(terms, lambda a, b: Mux(a > b, a, b))
            terms = [
                _register(m, term, f"most_{stage}_{index}") for index, term in enumerate(larger)
            ]
        return terms[0]

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

    def _divisor(self, m: Module, code: Value) -> Divisor:
        """Register what values are divided by, decoded from its code."""
        reciprocal = _register(m, self._factor(code), "reciprocal")
        shift = decode_scale(self._scaling.scale, code).shift
        if shift is None:
            return Divisor(reciprocal=reciprocal)
        lost = ((1 << shift) - 1)[: self._wide_bits + 1]
        return Divisor(
            reciprocal=reciprocal,
            shift=_register(m, shift, "divisor_shift"),
            lost=_register(m, lost, "divisor_lost"),
        )

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
        return _entry([Const(factor, width) for factor in factors], index)

    def _quotient(self, m: Module, value: Value, divisor: Divisor, name: str) -> Quotient:
        """Return twice the value over the scale, from registers."""
        bits = (4 * self._high).bit_length()
        twice = value << 1
        lost: Value = Const(0, 1)
        if divisor.shift is not None and divisor.lost is not None:
            lost = _register(m, (twice & divisor.lost).any(), f"lost_{name}")
            twice = _register(m, twice >> divisor.shift, f"left_{name}")
            if isinstance(self._scaling.scale, E8M0):
                return Quotient(halves=twice[:bits], inexact=lost, bounded=False)
        factor = _delayed(m, divisor.reciprocal, 0 if divisor.shift is None else 1, "reciprocal")
        product: Value = Signal(self._shift + bits, name=f"product_{name}")
        m.d.comb += product.eq(twice[: self._most.bit_length()] * factor)
        if divisor.shift is not None:
            product = _register(m, product, f"product_kept_{name}")
            lost = _register(m, lost, f"lost_again_{name}")
        rest = product[self._most.bit_length() : self._shift].any()
        return Quotient(
            halves=_register(m, product[self._shift :], f"halves_{name}"),
            inexact=_register(m, lost | rest, f"inexact_{name}"),
            # An integer scale is never too small, a float may be rounded down.
            bounded=isinstance(self._scaling.scale, IntScale),
        )

    # Elements

    @staticmethod
    def _element(m: Module, fmt: Element, found: Quotient, sign: Value, name: str) -> Value:
        """Return the nearest element, halves to the even code, at most the largest.

        Floats come a cycle later, with the sign.
        """
        magnitude, top = found.halves, fmt.high
        binade: Value = Const(0, 1)
        linear, inexact = fmt.bits, found.inexact
        if isinstance(fmt, Esb):
            linear, top = fmt.linear, int(fmt.encode(fmt.values[-1:])[0])
            passed = [magnitude[k:].any() for k in range(linear + 2, len(magnitude))]
            binade = _counted(m, passed, f"binade_{name}")
            inexact = inexact | (magnitude & ((1 << binade) - 1)[: len(magnitude)]).any()
            inexact = _register(m, inexact, f"inexact_{name}")
            magnitude = _register(m, magnitude >> binade, f"significand_{name}")
            binade = _register(m, binade, f"binade_kept_{name}")
        # A binade has 2**linear codes, so what is rounded up to the next one has the right code.
        code = Signal(len(magnitude) + linear, name=f"code_{name}")
        m.d.comb += code.eq((binade << linear) + magnitude[1:])
        up, beyond = Signal(name=f"up_{name}"), Signal(name=f"beyond_{name}")
        m.d.comb += up.eq(magnitude[0] & (inexact | code[0]))
        if not found.bounded:
            m.d.comb += beyond.eq((code > top) | ((code == top) & up))
        bits = top.bit_length()
        if isinstance(fmt, Esb):
            size = Mux(beyond, top, (code + up)[:bits])
            return Cat(size, sign & size.any(), 0) if fmt.signed else Cat(size, 0)
        # Rounded and negated in one addition: -(code + up) is ~code + 1 - up.
        rounded = (Cat(code[:bits], 0) ^ sign.replicate(bits + 1)) + (sign ^ up)
        return Mux(beyond, Mux(sign, -top, top), rounded[: bits + 1].as_signed())


def _float_code(m: Module, most: Value, high: int, name: str) -> Value:
    """Return the code of UE4M3 nearest to ``most / high``, halves to even, above 0.

    Three cycles later. A binade has 8 codes, so what is rounded up to the next one has the right
    code.
    """
    limits = [16 * high << k for k in range(14)]
    above = _register(m, Cat(most >= limit for limit in limits), f"above_{name}")
    twice = _register(m, most << 1, f"twice_{name}")
    # The one at the binade is 1 of these: ``above`` is 1 up to it.
    at = Cat(Const(1, 1), above) & ~Cat(above, Const(0, 1))
    shifted = functools.reduce(
        operator.or_, (Mux(chosen, twice >> k, 0) for k, chosen in enumerate(at))
    )
    left = _register(m, shifted[: (32 * high).bit_length()], f"left_scale_{name}")
    inexact = _register(m, (twice & above).any(), f"inexact_scale_{name}")
    binade = _register(m, _counted(m, list(above), f"binade_{name}"), f"binade_kept_{name}")
    # Halves between integers k and k + 1 go to the even one.
    rounded = [
        (left > (2 * k + 1) * high) | ((left == (2 * k + 1) * high) & (inexact | k % 2))
        for k in range(16)
    ]
    passed = _register(m, Cat(rounded), f"passed_{name}")
    binade = _register(m, binade, f"binade_again_{name}")
    count = _counted(m, list(passed), f"passed_count_{name}")
    code = Signal(7, name=f"float_code_{name}")
    m.d.comb += code.eq(Cat(count[:3], (binade + passed[7] + passed[15])[:4]))
    return code | ~(passed[0] | binade.any())


def _register(m: Module, value: Value, name: str) -> Signal:
    register = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


def _delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """Return ``value`` as it was ``cycles`` cycles ago."""
    for stage in range(cycles):
        value = _register(m, value, f"{name}_{stage}")
    return value


def _entry(entries: list[Value], index: Value) -> Value:
    """Return the entry at ``index`` of as many as it can tell apart, by a tree of choices."""
    for bit in index:
        entries = [Mux(bit, b, a) for a, b in zip(entries[::2], entries[1::2], strict=True)]
    return entries[0]


def _counted(m: Module, flags: list[Value], name: str) -> Value:
    """Return how many of the flags are set, no wider than it must be: it shifts.

    Each is set only where the one before it is. Bit b of the count is set between the flags that
    make it an odd and an even multiple of ``2**b``.
    """
    count = Signal(range(len(flags) + 1), name=name)
    for bit in range(len(count)):
        steps = [*flags[(1 << bit) - 1 :: 1 << bit], Const(0, 1)]
        spans = zip(steps[::2], steps[1::2], strict=False)
        m.d.comb += count[bit].eq(Cat(first & ~beyond for first, beyond in spans).any())
    return count

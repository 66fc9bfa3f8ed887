"""What flows in the SpArch engine: elements with a key, and words of several of them."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Mux, Value
from amaranth.lib import data


def element_layout(key_bits: int, value_bits: int) -> data.StructLayout:
    """Return the layout of an element: its ``value``, and the ``key`` that orders it.

    A key is (row, column), the row in the upper bits.
    """
    return data.StructLayout({"value": value_bits, "key": key_bits})


def word_layout(element: data.StructLayout, ways: int) -> data.ArrayLayout:
    """Return the layout of ``ways`` elements; those that are meant come first, in order."""
    return data.ArrayLayout(element, ways)


def index_bits(count: int) -> int:
    """Return the bits of a number below ``count``, at least 1."""
    return max(1, (count - 1).bit_length())


def check_ways(ways: int) -> None:
    """Refuse a number of elements a cycle that is no power of two from 2 to 16."""
    if ways not in (2, 4, 8, 16):
        raise ValueError(f"ways must be 2, 4, 8 or 16, not {ways!r}")


def rotated(word: Value, amount: Value, ways: int) -> Value:
    """Return ``word``, ``ways`` elements of equal width, with element ``amount`` first.

    ``ways`` is a power of two, ``amount`` below it. A level of multiplexers for each bit.
    """
    width = len(word) // ways
    for stage in range(ways.bit_length() - 1):
        low = width << stage
        word = Mux(amount[stage], Cat(word[low:], word[:low]), word)
    return word


def bit_of(number: Value, count: int) -> Value:
    """Return ``count`` bits of which only bit ``number`` is 1."""
    return (Const(1, 1) << number)[:count]


def of_count(flags: Value, values: list[Value]) -> Value:
    """Return the value whose number is that of ``flags`` set; these are the first ones.

    A tree of multiplexers: the flag in the middle says which half it is in.
    """
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    lower = of_count(flags[: middle - 1], values[:middle])
    upper = of_count(flags[middle:], values[middle:])
    return Mux(flags[middle - 1], upper, lower)

"""Number formats: levels written out by hand from the papers, codes, names, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.models.formats import (
    Esb,
    Fixed,
    Format,
    Pot,
    Sp2,
    decode_rows,
    encode_rows,
    parse_format,
)

ALL = (
    *(Fixed(bits=bits, signed=signed) for bits in range(1, 17) for signed in (False, True)),
    *(Pot(bits=bits) for bits in range(2, 6)),
    *(Sp2(bits=bits) for bits in range(3, 9)),
    *(
        Esb(bits=bits, linear=linear, signed=signed)
        for bits in range(2, 9)
        for linear in range(bits)
        for signed in (False, True)
        if 1 <= bits - linear - signed <= 4
    ),
)


@pytest.mark.parametrize("fmt", ALL, ids=lambda fmt: fmt.name)
def test_codes_and_names(fmt: Format) -> None:
    assert parse_format(fmt.name) == fmt
    codes = np.arange(1 << fmt.bits)
    values = fmt.decode(codes)
    canonical = fmt.encode(values)
    np.testing.assert_array_equal(fmt.decode(canonical), values)
    assert (canonical <= codes).all()
    assert fmt.decode(np.array(0)) == 0  # what a lane without a channel holds


@pytest.mark.parametrize(
    ("name", "magnitudes"),
    [
        ("pot_4", [0, 1, 2, 4, 8, 16, 32, 64]),
        ("esb3_0", [0, 1, 2, 4]),
        ("esb4_0", [0, 1, 2, 4, 8, 16, 32, 64]),
        ("esb4_1", [0, 1, 2, 3, 4, 6, 8, 12]),
        ("esb4_2", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("esb5_2", [*range(9), 10, 12, 14, 16, 20, 24, 28]),
        ("esb5_1", [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192]),
        ("sp2_4", [0, 1, 2, 4, 5, 6, 8]),
    ],
)
def test_levels(name: str, magnitudes: list[int]) -> None:
    values = parse_format(name).values
    np.testing.assert_array_equal(values[values >= 0], magnitudes)
    np.testing.assert_array_equal(values, -values[::-1])


@pytest.mark.parametrize(
    ("bits", "magnitudes", "levels"),
    [(3, 3, 5), (4, 7, 13), (5, 8, 15), (6, 24, 47), (7, 30, 59), (8, 94, 187)],
)
def test_sp2_counts(bits: int, magnitudes: int, levels: int) -> None:
    values = Sp2(bits=bits).values
    assert (values >= 0).sum() == magnitudes
    assert len(values) == levels


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fixed17", "1 to 16 bits, not 17"),
        ("pot_6", "2 to 5 bits, not 6"),
        ("sp2_9", "3 to 8 bits, not 9"),
        ("esb9_2", "2 to 8 bits, not 9"),
        ("esb8_1", "1 to 4 exponent bits: of 8 bits linear cannot be 1"),
        ("esb4_3", "linear cannot be 3"),
        ("fixed", "unknown format 'fixed': known are .*sp2_N"),
    ],
)
def test_refusals(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_format(name)


def test_value_outside() -> None:
    with pytest.raises(ValueError, match="3 is not a value of pot_4"):
        Pot(bits=4).encode(np.array([1, 3]))
    assert Pot(bits=4).holds(np.array([[1, 3], [-2, 999]])).tolist() == [
        [True, False],
        [True, False],
    ]


def test_rows_have_formats_of_their_own() -> None:
    formats = (Fixed(bits=4), Pot(bits=4), Fixed(bits=4))
    values = np.array([[-8, 7], [-4, 2], [3, 3]])
    codes = encode_rows(formats, values)
    assert codes.tolist() == [
        fmt.encode(row).tolist() for fmt, row in zip(formats, values, strict=True)
    ]
    np.testing.assert_array_equal(decode_rows(formats, codes), values)
    np.testing.assert_array_equal(decode_rows(formats[:1], codes[:1]), values[:1])
    with pytest.raises(ValueError, match="3 rows must have as many formats, not 2"):
        decode_rows(formats[:2], codes)

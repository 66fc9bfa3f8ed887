from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from celosia.dataflow.layout import Placement, Unfold
from celosia.models.formats import Fixed, parse_format


def placement(fmt: str = "fixed8", lane_bits: int = 8, **changes: object) -> Placement:
    """Three channels of 2 x 3 in two words of 3 lanes, with a border of (1, 2, 0, 1)."""
    parsed = parse_format(fmt)
    assert isinstance(parsed, Fixed)
    plain = Placement(
        name="t",
        shape=(3, 2, 3),
        format=parsed,
        address=0x1000 + 48 + 16,
        base=0x1000,
        word_bytes=8,
        pitch=48,
        plane=144,
        border=(1, 2, 0, 1),
        words=np.array([0, 1, 1]),
        lanes=np.array([1, 0, 2]),
        lane_bits=lane_bits,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fmt", "bits"),
    [("fixed8", 8), ("ufixed8", 8), ("fixed3", 8), ("fixed5", 5), ("ufixed4", 5), ("fixed1", 1)],
)
def test_codes_come_back(fmt: str, bits: int) -> None:
    place = placement(fmt, bits)
    random = np.random.default_rng(2)
    image = random.integers(0, 256, 400, dtype=np.uint8)
    codes = random.integers(place.format.low, place.format.high + 1, place.shape)
    before = image.copy()
    place.write(image, codes)
    np.testing.assert_array_equal(place.read(image), codes)
    # Only lanes of the tensor change: row 0 is border.
    np.testing.assert_array_equal(image[:48], before[:48])


def test_bytes_are_where_the_architecture_says() -> None:
    place = placement()
    image = np.zeros(400, np.uint8)
    codes = np.arange(18).reshape(3, 2, 3) - 9
    place.write(image, codes)
    for channel, (word, lane) in enumerate([(0, 1), (1, 0), (1, 2)]):
        for y in range(2):
            for x in range(3):
                at = 64 + word * 144 + y * 48 + x * 8 + lane
                assert image[at] == codes[channel, y, x] & 0xFF


@pytest.mark.parametrize("bits", [3, 8])
def test_fill_covers_the_border(bits: int) -> None:
    image = np.zeros(400, np.uint8)
    placement(f"fixed{bits}", bits).fill(image, -2)
    got = placement(f"fixed{bits}", bits, address=0x1000 + 16, shape=(3, 3, 4), border=(0,) * 4)
    np.testing.assert_array_equal(got.read(image), np.full((3, 3, 4), -2))


def test_unfolded_words_hold_neighbours() -> None:
    unfold = Unfold(copies=(2, 2), step=(1, 2), stride=(1, 1), origin=(0, 0), grid=(2, 3))
    place = placement(
        shape=(1, 2, 3), unfold=unfold, words=np.zeros(4, np.int64), lanes=np.arange(4)
    )
    image = np.zeros(400, np.uint8)
    codes = np.array([[[1, 2, 3], [4, 5, 6]]])
    place.write(image, codes)
    np.testing.assert_array_equal(place.read(image), codes)
    words = image[: 3 * 48].reshape(3, 6, 8)[:, :, :4]
    # Word (row 0, x -2) of the border sees pixels (0, -2), (0, 0), (1, -2), (1, 0) shifted.
    np.testing.assert_array_equal(words[0, 0], [0, 0, 0, 1])
    np.testing.assert_array_equal(words[1, 2], [1, 3, 4, 6])
    np.testing.assert_array_equal(words[2, 3], [5, 0, 0, 0])


def test_words_of_a_stride_hold_every_pixel() -> None:
    # Rows -1, 1 of pixels two by two, columns as they are: word (g, x) has rows 2g - 1 and 2g.
    unfold = Unfold(copies=(2, 1), step=(1, 1), stride=(2, 1), origin=(-1, 0), grid=(2, 3))
    place = placement(
        shape=(1, 3, 3), unfold=unfold, words=np.zeros(2, np.int64), lanes=np.arange(2)
    )
    image = np.zeros(400, np.uint8)
    codes = np.arange(1, 10).reshape(1, 3, 3)
    place.write(image, codes)
    np.testing.assert_array_equal(place.read(image), codes)
    words = image[: 3 * 48].reshape(3, 6, 8)[1:, 2:5, :2]
    np.testing.assert_array_equal(words[:, 0], [[0, 1], [4, 7]])


def test_a_pixel_in_no_word_is_not_read() -> None:
    unfold = Unfold(copies=(1, 1), step=(1, 1), stride=(2, 1), origin=(0, 0), grid=(1, 3))
    place = placement(shape=(3, 2, 3), unfold=unfold)
    with pytest.raises(ValueError, match="holds 1 of 2 pixels"):
        place.read(np.zeros(400, np.uint8))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((3, 2, 2), np.int64), r"codes must be integers of shape \(3, 2, 3\)"),
        (np.zeros((3, 2, 3)), ".* not float64"),
        (np.full((3, 2, 3), 128), r"codes must be in -128\.\.127, not 128\.\.128"),
    ],
)
def test_write_wrong(codes: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=f"tensor 't': {message}"):
        placement().write(np.zeros(400, np.uint8), codes)


def test_image_wrong() -> None:
    with pytest.raises(ValueError, match="tensor 't' does not lie in an image of shape"):
        placement().read(np.zeros(200, np.uint8))
    with pytest.raises(ValueError, match="does not lie in an image"):
        placement(base=0x2000).read(np.zeros(400, np.uint8))

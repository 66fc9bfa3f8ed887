"""Where a tensor lies in memory, and how to write and read it there.

A tensor is ``[word][row][x]`` of activation words with a border round each plane
(``docs/architecture.md``, "Tensors in memory"). A channel lies in one lane of one
word; which, its producer's columns decide.

A network input that is read by one convolution with few channels may be
*unfolded*: its words then also hold neighbouring pixels, so that the kernel's positions
fill lanes that would stay empty (:mod:`celosia.dataflow.unfold`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from celosia.models.formats import Element, Fixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfold:
    """``copies`` (vertical, horizontal) of the pixels in each word, ``step`` pixels apart.

    Words lie in a grid of their own, of ``grid`` rows and columns: that of row g and column h
    holds the pixels at ``origin + (g, h) * stride + j * step``, j up to ``copies``; outside the
    tensor they are 0. Copy (jy, jx) of channel c is the layout's channel
    ``(jy * copies[1] + jx) * C + c``.
    """

    copies: tuple[int, int]
    step: tuple[int, int]
    stride: tuple[int, int]
    origin: tuple[int, int]
    grid: tuple[int, int]

    @property
    def count(self) -> int:
        """Copies of each pixel."""
        return self.copies[0] * self.copies[1]

    def pixels(self, axis: int, before: int = 0, after: int = 0) -> np.ndarray:
        """Return the pixel of each copy along ``axis`` (0: vertical) in each row of the grid.

        int64 of shape (rows, copies); there are ``before`` and ``after`` more rows round the grid.
        """
        rows = np.arange(-before, self.grid[axis] + after)[:, None]
        copies = np.arange(self.copies[axis])
        return np.asarray(
            self.origin[axis] + rows * self.stride[axis] + copies * self.step[axis], np.int64
        )

    def places(self, axis: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a row of the grid and a copy that hold each of ``size`` pixels along ``axis``.

        Raises ``ValueError`` where a pixel is in no word.
        """
        pixels = self.pixels(axis)
        _, first = np.unique(pixels, return_index=True)
        inside = first[(pixels.flat[first] >= 0) & (pixels.flat[first] < size)]
        if len(inside) != size:
            raise ValueError(f"{self!r} holds {len(inside)} of {size} pixels")
        return inside // self.copies[axis], inside % self.copies[axis]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """One tensor in memory.

    Parameters
    ----------
    name, shape, format
        As in the network's tensor; ``shape`` is (channels, height, width).
    zero : int
        Code that the border holds where it is written with the tensor.
    address : int
        Bytes; word 0, row 0, x 0, inside the border.
    base : int
        Address of the memory image's first byte.
    word_bytes, pitch, plane : int
        Bytes of a word, and from one row and word to the next.
    sample_bytes : int
        Bytes from one sample to the next, where a program has several.
    border : (top, left, bottom, right)
        Rows and columns round each plane.
    words, lanes : numpy.ndarray
        int64 of shape (C,), or of C times the copies: where each channel lies.
    lane_bits : int
        Bits of a lane.
    first_bit : int
        Where in a word lane 0 begins.
    unfold : Unfold, optional
        Which pixels are in each word; by default one, as the tensor has them.
    spread : int
        Words from one x to the next: more than 1 where other pixels lie between.
    """

    name: str
    shape: tuple[int, int, int]
    format: Element
    address: int
    base: int
    word_bytes: int
    pitch: int
    plane: int
    border: tuple[int, int, int, int]
    words: np.ndarray
    lanes: np.ndarray
    lane_bits: int
    first_bit: int = 0
    unfold: Unfold | None = None
    sample_bytes: int = 0
    spread: int = 1
    zero: int = 0

    @property
    def x_bytes(self) -> int:
        """Bytes from one x to the next."""
        return self.spread * self.word_bytes

    def at(self, sample: int) -> int:
        """Return the address of ``sample``: of its word 0, row 0, x 0."""
        return self.address + sample * self.sample_bytes

    def of(self, sample: int) -> Placement:
        """Return where ``sample`` lies."""
        return replace(self, address=self.at(sample))

    @property
    def word_count(self) -> int:
        """Words from the first to the last used one."""
        return int(self.words.max()) + 1

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of words, without the border."""
        return self.shape[1:] if self.unfold is None else self.unfold.grid

    def _block(self, with_border: bool) -> tuple[int, tuple[int, ...], int]:
        """Return the first address of the tensor's bytes, their shape, and how far they reach."""
        top, left, bottom, right = self.border if with_border else (0, 0, 0, 0)
        height, width = self.grid
        start = self.address - top * self.pitch - left * self.word_bytes
        shape = (self.word_count, height + top + bottom, width + left + right, self.word_bytes)
        size = 1 + sum((n - 1) * step for n, step in zip(shape, self._strides, strict=True))
        return start, shape, size

    @property
    def _strides(self) -> tuple[int, ...]:
        return self.plane, self.pitch, self.x_bytes, 1

    @property
    def span(self) -> tuple[int, int]:
        """First address that :meth:`write` or :meth:`read` touch, and the first after the last."""
        start, _, size = self._block(self.unfold is not None)
        return start, start + size

    def _region(self, image: np.ndarray, with_border: bool) -> np.ndarray:
        """View of the tensor's bytes in ``image``: (word, row, x, byte)."""
        first, shape, size = self._block(with_border)
        start = first - self.base
        if image.dtype != np.uint8 or image.ndim != 1 or start < 0 or start + size > image.size:
            raise ValueError(
                f"tensor {self.name!r} does not lie in an image of shape {image.shape}"
            )
        return np.lib.stride_tricks.as_strided(image[start:], shape, self._strides)

    def write(self, image: np.ndarray, codes: np.ndarray) -> None:
        """Write ``codes``, values of the format, into ``image``, in place.

        Parameters
        ----------
        image : numpy.ndarray
            uint8, the memory from ``base`` on.
        codes : numpy.ndarray
            Integers of shape ``shape``, each in the format's range.

        Raises
        ------
        ValueError
            If the shape is another, a code is out of range or the image too small.
        """
        codes = np.asarray(codes)
        if codes.shape != self.shape or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"tensor {self.name!r}: codes must be integers of shape {self.shape}, "
                f"not {codes.dtype} of {codes.shape}"
            )
        if codes.min() < self.format.low or codes.max() > self.format.high:
            raise ValueError(
                f"tensor {self.name!r}: codes must be in {self.format.low}..{self.format.high}, "
                f"not {codes.min()}..{codes.max()}"
            )
        region = self._region(image, self.unfold is not None)
        if self.unfold is not None:
            codes = self._unfolded(codes, self.unfold)
        self._put(region, self.encode(codes))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return the bits that stand in a lane for ``values`` of the format."""
        if isinstance(self.format, Fixed):
            return np.asarray(values.astype(np.int64) & ((1 << self.lane_bits) - 1))
        return self.format.encode(values)

    def _unfolded(self, codes: np.ndarray, unfold: Unfold) -> np.ndarray:
        """Return the channels of each word, border included, with every copy of the pixels."""
        top, left, bottom, right = self.border
        _, height, width = self.shape
        down, across = unfold.pixels(0, top, bottom), unfold.pixels(1, left, right)
        inside = ((down >= 0) & (down < height)).T[:, None, None, :, None] & (
            (across >= 0) & (across < width)
        ).T[None, :, None, None, :]
        rows, columns = down.clip(0, height - 1).T, across.clip(0, width - 1).T
        channels = np.arange(len(codes))
        # (vertical copy, horizontal copy, channel, row, column)
        copies = codes[
            channels[:, None, None], rows[:, None, None, :, None], columns[None, :, None, None, :]
        ]
        return np.where(inside, copies, self.zero).reshape(-1, rows.shape[1], columns.shape[1])

    @property
    def _bytes(self) -> np.ndarray | None:
        """The byte of each channel in its word, where lanes are bytes."""
        if self.lane_bits != 8 or self.first_bit % 8:
            return None
        return np.asarray(self.lanes + self.first_bit // 8)

    def _bits(self, bit: int) -> np.ndarray:
        """Return where ``bit`` of each channel lies in its word."""
        return np.asarray(self.first_bit + self.lanes * self.lane_bits + bit)

    def _put(self, region: np.ndarray, codes: np.ndarray) -> None:
        if self._bytes is not None:
            region[self.words, :, :, self._bytes] = codes
            return
        bits = np.unpackbits(region, axis=-1, bitorder="little")
        for bit in range(self.lane_bits):
            bits[self.words, :, :, self._bits(bit)] = (codes >> bit) & 1
        region[...] = np.packbits(bits, axis=-1, bitorder="little")

    def read(self, image: np.ndarray) -> np.ndarray:
        """Return the tensor's codes in ``image``, int64 of shape ``shape``.

        Raises ``ValueError`` if the tensor does not lie in the image.
        """
        region = self._region(image, False)
        if self._bytes is not None:
            codes = region[self.words, :, :, self._bytes].astype(np.int64)
        else:
            bits = np.unpackbits(region, axis=-1, bitorder="little")
            codes = np.zeros((len(self.words), *self.grid), np.int64)
            for bit in range(self.lane_bits):
                place = self._bits(bit)
                codes |= bits[self.words, :, :, place].astype(np.int64) << bit
        if self.unfold is not None:
            codes = self._folded(codes, self.unfold)
        return self.decode(codes)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the values of the format that lanes with the bits ``codes`` (int64) hold."""
        if not isinstance(self.format, Fixed):
            return self.format.decode(codes & ((1 << self.format.bits) - 1))
        if self.format.signed:
            codes = np.where(codes >> (self.lane_bits - 1), codes - (1 << self.lane_bits), codes)
        return codes

    def _folded(self, codes: np.ndarray, unfold: Unfold) -> np.ndarray:
        """Return the channels of each pixel from those of each word."""
        channels, height, width = self.shape
        rows, down = unfold.places(0, height)
        columns, across = unfold.places(1, width)
        copies = codes.reshape(*unfold.copies, channels, *unfold.grid)
        picked = copies[down[:, None], across, :, rows[:, None], columns]
        return np.asarray(picked.transpose(2, 0, 1))

    def fill(self, image: np.ndarray, value: int) -> None:
        """Fill the tensor and its border with ``value``, in every word (used for borders)."""
        code = int(self.encode(np.array(value)))
        region = self._region(image, True)
        bits = np.unpackbits(region, axis=-1, bitorder="little")
        for bit in range(self.lane_bits):
            bits[..., self._bits(bit)] = (code >> bit) & 1
        region[...] = np.packbits(bits, axis=-1, bitorder="little")

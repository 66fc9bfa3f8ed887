"""Frames of the serial link between a host and a board: one table for both ends.

A request is :data:`REQUEST`, then eight bytes, little endian - an :class:`Operation`, a number, a
byte address (32 bits) and a number of words (16 bits) - and their checksum; of a write 4 bytes for
each word follow, little endian, and their checksum. A request is carried out whole, once both
checksums are right, or not at all. An answer is :data:`ANSWER`, an :class:`Outcome`, the request's
number, of a read that was carried out the words, and the checksum of all but the first byte.

Registers keep their address for all words of a request; memory addresses go up by 4. Whatever
begins with another byte, or fails its first checksum, is skipped without an answer, and so is a
request that stops for longer than :data:`SILENCE_BYTES` take: then the next is looked for. A write
of registers with the number of the request that was carried out before is answered and not carried
out again, so that a host whose answer was lost may ask twice. A host that does not know that number
reads first: reads are always carried out.

Checksums are CRC-16/IBM-3740 (of :func:`binascii.crc_hqx`, from 0xFFFF), the high byte first.
"""

from __future__ import annotations

import enum

REQUEST = 0x5A
ANSWER = 0xC3
HEADER_BYTES = 8
CHECKSUM_BYTES = 2
MOST_WORDS = 256
"""Words of one request."""

SILENCE_BYTES = 4096
"""After as long as so many bytes take a request that stopped is given up."""

CHECKSUM_START = 0xFFFF
CHECKSUM_POLYNOMIAL = 0x1021


class Operation(enum.IntEnum):
    """What a request asks for: bit 0 to read, bit 5 of memory."""

    WRITE_REGISTER = 0x10
    READ_REGISTER = 0x11
    WRITE_MEMORY = 0x20
    READ_MEMORY = 0x21

    @property
    def reads(self) -> bool:
        """Whether words come back."""
        return bool(self & 1)


class Outcome(enum.IntEnum):
    """What became of a request."""

    DONE = 0x06
    CORRUPT = 0x15
    """The checksum of its words was wrong."""
    OUTSIDE = 0x16
    """Not all of it lies in the memory or among the registers, or no multiple of 4."""
    UNKNOWN = 0x17
    """There is no such operation, or it has no words or too many."""

"""AXI4 and AXI4-Lite signatures, with member names that flatten to the names Vivado infers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import enum
from amaranth.lib.wiring import In, Member, Out, Signature

CACHE = 0b0011
"""``AxCACHE`` of every burst: normal, not cacheable, bufferable."""

PROTECTION = 0b000
"""``AxPROT`` of every burst: unprivileged, secure, data."""


class BurstType(enum.Enum, shape=2):
    """``AxBURST``."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class Response(enum.Enum, shape=2):
    """``xRESP``."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def size_code(data_bits: int) -> int:
    """Return ``AxSIZE`` of full-width beats: log2 of the bytes of a beat."""
    return (data_bits // 8).bit_length() - 1


def _check(address_bits: int, data_bits: int) -> None:
    if not 13 <= address_bits <= 64:
        raise ValueError(f"address_bits must be 13 to 64, not {address_bits!r}")
    if data_bits not in (32, 64, 128, 256, 512):
        raise ValueError(f"data_bits must be 32, 64, 128, 256 or 512, not {data_bits!r}")


def _request(prefix: str, address_bits: int) -> dict[str, Member]:
    members: dict[str, int | type[enum.Enum]] = {
        "id": 1,
        "addr": address_bits,
        "len": 8,
        "size": 3,
        "burst": BurstType,
        "lock": 1,
        "cache": 4,
        "prot": 3,
        "qos": 4,
        "valid": 1,
    }
    return {prefix + name: Out(shape) for name, shape in members.items()} | {
        prefix + "ready": In(1)
    }


class Axi4Read(Signature):
    """The read half (AR, R) of an AXI4 port, as seen by the manager. One ID bit, always 0.

    Parameters
    ----------
    address_bits : int
        13 to 64.
    data_bits : int
        32 to 512, a power of two.
    """

    def __init__(self, *, address_bits: int, data_bits: int) -> None:
        _check(address_bits, data_bits)
        self._address_bits = address_bits
        self._data_bits = data_bits
        super().__init__(
            _request("ar", address_bits)
            | {
                "rid": In(1),
                "rdata": In(data_bits),
                "rresp": In(Response),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )

    @property
    def address_bits(self) -> int:
        return self._address_bits

    @property
    def data_bits(self) -> int:
        return self._data_bits

    def __repr__(self) -> str:
        return f"Axi4Read(address_bits={self._address_bits}, data_bits={self._data_bits})"


class Axi4Write(Signature):
    """The write half (AW, W, B) of an AXI4 port, as seen by the manager. One ID bit, always 0.

    Parameters
    ----------
    address_bits : int
        13 to 64.
    data_bits : int
        32 to 512, a power of two.
    """

    def __init__(self, *, address_bits: int, data_bits: int) -> None:
        _check(address_bits, data_bits)
        self._address_bits = address_bits
        self._data_bits = data_bits
        super().__init__(
            _request("aw", address_bits)
            | {
                "wdata": Out(data_bits),
                "wstrb": Out(data_bits // 8),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(1),
                "bresp": In(Response),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )

    @property
    def address_bits(self) -> int:
        return self._address_bits

    @property
    def data_bits(self) -> int:
        return self._data_bits

    def __repr__(self) -> str:
        return f"Axi4Write(address_bits={self._address_bits}, data_bits={self._data_bits})"


class Axi4Lite(Signature):
    """An AXI4-Lite port of 32 bits, as seen by the manager.

    Parameters
    ----------
    address_bits : int
        1 to 64.
    """

    def __init__(self, *, address_bits: int) -> None:
        if not 1 <= address_bits <= 64:
            raise ValueError(f"address_bits must be 1 to 64, not {address_bits!r}")
        self._address_bits = address_bits
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(Response),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(Response),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )

    @property
    def address_bits(self) -> int:
        return self._address_bits

    def __repr__(self) -> str:
        return f"Axi4Lite(address_bits={self._address_bits})"


class Axi4(Signature):
    """An AXI4 port, both halves, as seen by the manager; for a boundary.

    Named ``m_axi_gmem0`` in a component's signature, its members flatten to the names that
    Vivado infers.

    Parameters
    ----------
    address_bits, data_bits : int
        As in :class:`Axi4Read`.
    """

    def __init__(self, *, address_bits: int, data_bits: int) -> None:
        self._read = Axi4Read(address_bits=address_bits, data_bits=data_bits)
        self._write = Axi4Write(address_bits=address_bits, data_bits=data_bits)
        super().__init__(dict(self._read.members) | dict(self._write.members))

    @property
    def read(self) -> Axi4Read:
        return self._read

    @property
    def write(self) -> Axi4Write:
        return self._write

    def __repr__(self) -> str:
        return f"Axi4(address_bits={self._read.address_bits}, data_bits={self._read.data_bits})"


def connect_halves(m: Module, port: object, read: Any, write: Any) -> None:
    """Connect the managers ``read`` and ``write`` to the boundary ``port``.

    Parameters
    ----------
    m : Module
        Takes the assignments.
    port : object
        ``Out(Axi4(...))`` member of the component of ``m``.
    read, write : object
        Interfaces of :class:`Axi4Read` and :class:`Axi4Write`, driven by sub-components.
    """
    for half in (read, write):
        members: Any = half.signature.members
        for name, member in members.items():
            outer, inner = getattr(port, name), getattr(half, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)

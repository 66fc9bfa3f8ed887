"""The register map: one table, from which the decoder and its documents are made."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.microarchitecture import PAGE_BYTES

ADDRESS_BITS = 12
"""Width of the byte addresses of the control port."""

MAGIC = int.from_bytes(b"CELO", "little")
VERSION = 1
"""Version of the register map."""

FINGERPRINT_BITS = 128
STATUS_OFFSET = 0x24
STRIPES_OFFSET = 0x58
COUNTERS_OFFSET = 0x80


class Access(enum.Enum):
    """Who gives a register its value."""

    CONSTANT = "constant"
    """Fixed in this accelerator."""
    READ = "read"
    """The hardware; writes are ignored."""
    READ_WRITE = "read/write"
    """Software; kept until the next write. Unless ``always``, writes are ignored while busy."""
    COMMAND = "write"
    """Each 1 written acts once; reads as 0."""


class Cause(enum.IntEnum):
    """Why the engine stopped. Of errors in the same cycle the lowest is kept."""

    NONE = 0
    ILLEGAL_DESCRIPTOR = 1
    READ_RESPONSE = 2
    WRITE_RESPONSE = 3
    READ_OUTSIDE_WINDOW = 4
    WRITE_OUTSIDE_WINDOW = 5
    CORRUPT_POINTER = 6
    CORRUPT_INDEX = 7
    UNSORTED_KEYS = 8
    BEYOND_ROUND = 9
    BEYOND_CAPACITY = 10
    STALLED = 11

    @property
    def words(self) -> str:
        """What happened, for a person."""
        return _CAUSE_WORDS[self]


_CAUSE_WORDS = {
    Cause.NONE: "nothing stopped it",
    Cause.ILLEGAL_DESCRIPTOR: "a descriptor of the program is not legal",
    Cause.READ_RESPONSE: "memory answered a read with an error",
    Cause.WRITE_RESPONSE: "memory answered a write with an error",
    Cause.READ_OUTSIDE_WINDOW: "the program reads outside its memory window",
    Cause.WRITE_OUTSIDE_WINDOW: "the program writes outside its memory window",
    Cause.CORRUPT_POINTER: "a pointer of a compressed matrix is corrupt",
    Cause.CORRUPT_INDEX: "an index of a compressed matrix is corrupt",
    Cause.UNSORTED_KEYS: "keys of a sparse matrix are not in order",
    Cause.BEYOND_ROUND: "a sparse matrix has more than its round takes",
    Cause.BEYOND_CAPACITY: "a product has more entries than there is room for",
    Cause.STALLED: "its units wait for each other",
}


CAUSE_BITS = max(Cause).bit_length()

CAUSES = tuple(cause for cause in Cause if Cause.NONE < cause < Cause.CORRUPT_POINTER)
"""What may stop any engine; the others stop those that read compressed data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Bits ``low`` to ``low + width - 1`` of a register."""

    name: str
    low: int
    width: int
    doc: str

    def __post_init__(self) -> None:
        if self.low < 0 or self.width < 1 or self.low + self.width > 32:
            raise ValueError(
                f"field {self.name} must lie in bits 0 to 31, not {self.low} + {self.width}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """One 32-bit register.

    ``mask`` has a 1 for each bit that exists; others read as 0. ``reset`` is the value after
    reset, of a constant the value. ``always`` lets software write it while the engine is busy.
    """

    name: str
    offset: int
    access: Access
    doc: str
    reset: int = 0
    mask: int = 0xFFFFFFFF
    always: bool = False
    fields: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(f"name must be a lower-case identifier, not {self.name!r}")
        if self.offset % 4 or not 0 <= self.offset < 1 << ADDRESS_BITS:
            raise ValueError(
                f"offset of {self.name} must be a multiple of 4 below {1 << ADDRESS_BITS:#x},"
                f" not {self.offset:#x}"
            )
        if not 0 <= self.mask < 1 << 32:
            raise ValueError(f"mask of {self.name} must have 32 bits, not {self.mask:#x}")
        if self.reset & ~self.mask:
            raise ValueError(
                f"reset of {self.name} must lie within its mask {self.mask:#x}, not {self.reset:#x}"
            )

    @property
    def width(self) -> int:
        """Bits up to the highest that exists."""
        return self.mask.bit_length()


STATUS_FIELDS = (
    Field(name="idle", low=0, width=1, doc="Ready for a start."),
    Field(name="done", low=1, width=1, doc="The program has ended; start or clear ends this."),
    Field(name="error", low=2, width=1, doc="Stopped by an error; clear ends this."),
    Field(name="busy", low=3, width=1, doc="A program runs, or is being stopped."),
)
CONTROL_FIELDS = (
    Field(name="start", low=0, width=1, doc="Run the program; ignored unless idle or done."),
    Field(name="clear", low=1, width=1, doc="Back to idle; stops a program. Wins over start."),
)


def shape_registers(*words: tuple[Field, ...], values: dict[str, int]) -> tuple[Register, ...]:
    """Return the registers ``shape0`` and ``shape1``, constants that say what an engine is.

    ``values`` has the value of each field of the two ``words``.
    """
    return tuple(
        Register(
            name=f"shape{index}",
            offset=0x08 + 4 * index,
            access=Access.CONSTANT,
            doc="Shape of the array, continued." if index else "Shape of the array.",
            reset=sum(values[field.name] << field.low for field in word),
            fields=word,
        )
        for index, word in enumerate(words)
    )


def _identity(shape: tuple[Register, ...], fingerprint: int) -> list[Register]:
    constant = Access.CONSTANT
    return [
        Register(name="magic", offset=0x00, access=constant, doc='"CELO".', reset=MAGIC),
        Register(
            name="version",
            offset=0x04,
            access=constant,
            doc="Version of this register map.",
            reset=VERSION,
        ),
        *shape,
        *(
            Register(
                name=f"fingerprint{index}",
                offset=0x10 + 4 * index,
                access=constant,
                doc=f"Bits {32 * index} to {32 * index + 31} of the hash of the accelerator.",
                reset=fingerprint >> 32 * index & 0xFFFFFFFF,
            )
            for index in range(FINGERPRINT_BITS // 32)
        ),
    ]


def _pair(
    name: str, offset: int, bits: int, access: Access, doc: str, *, multiple: int = 1
) -> list[Register]:
    """Return the low and the high half of a value of ``bits`` bits, a multiple of ``multiple``."""
    mask = (1 << bits) - multiple
    halves = (("low", offset, mask & 0xFFFFFFFF), ("high", offset + 4, mask >> 32))
    return [
        Register(
            name=f"{name}_{half}",
            offset=place,
            access=access,
            doc=f"{doc}, {'bits 31 to 0' if half == 'low' else 'bits 63 to 32'}.",
            mask=bits_there,
        )
        for half, place, bits_there in halves
    ]


def _run(bus: Bus, causes: tuple[Cause, ...]) -> list[Register]:
    address_bits = bus.address_bits
    software, hardware = Access.READ_WRITE, Access.READ
    stops = " ".join(f"{cause.value}: {cause.name.lower()}." for cause in (Cause.NONE, *causes))
    program = _pair(
        "program", 0x30, address_bits, software, "Address of the program, a multiple of 256"
    )
    return [
        Register(
            name="control",
            offset=0x20,
            access=Access.COMMAND,
            doc="Start and stop.",
            mask=3,
            fields=CONTROL_FIELDS,
        ),
        Register(
            name="status",
            offset=STATUS_OFFSET,
            access=hardware,
            doc="Exactly one bit is 1.",
            mask=15,
            reset=1,
            fields=STATUS_FIELDS,
        ),
        Register(
            name="interrupt_enable",
            offset=0x28,
            access=software,
            doc="1: `interrupt` is high while done or error.",
            mask=1,
            always=True,
        ),
        Register(
            name="cause",
            offset=0x2C,
            access=hardware,
            doc=f"Why the engine stopped, kept until the next start. {stops}",
            mask=(1 << CAUSE_BITS) - 1,
        ),
        *program,
        Register(
            name="program_chunks",
            offset=0x38,
            access=software,
            doc="Length of the program in chunks of 256 bytes.",
        ),
        *_pair("window_base", 0x40, address_bits, software, "First address that may be accessed"),
        *_pair(
            "window_limit",
            0x48,
            min(address_bits + 1, 64),
            software,
            "First address after those that may be accessed",
        ),
        *_pair(
            "error_address",
            0x50,
            address_bits,
            hardware,
            "Address of the burst or descriptor that the cause concerns",
        ),
        *(
            half
            for port in range(bus.stripes)
            for half in _pair(
                f"stripe{port}_base",
                STRIPES_OFFSET + 8 * port,
                address_bits,
                software,
                f"Where port {port}'s share of address 0 lies, a multiple of {PAGE_BYTES}",
                multiple=PAGE_BYTES,
            )
        ),
    ]


def register_map(
    shape: tuple[Register, ...],
    *,
    bus: Bus,
    fingerprint: int,
    counters: type[enum.IntEnum],
    causes: tuple[Cause, ...] = CAUSES,
) -> tuple[Register, ...]:
    """Return the registers of an engine, by rising offset.

    Parameters
    ----------
    shape : tuple of Register
        What the engine is: :func:`shape_registers`.
    bus : Bus
        Width of addresses, and memory ports.
    fingerprint : int
        Hash of the accelerator, 128 bits.
    counters : type of IntEnum
        Its counters, numbered from 0, the cycles first.
    causes : tuple of Cause
        Why it may stop.

    Raises
    ------
    ValueError
        ``fingerprint`` has more than 128 bits or is negative.
    """
    if not 0 <= fingerprint < 1 << FINGERPRINT_BITS:
        raise ValueError(f"fingerprint must have {FINGERPRINT_BITS} bits, not {fingerprint:#x}")
    halves = [
        half
        for counter in counters
        for half in _pair(
            counter.name.lower(),
            COUNTERS_OFFSET + 8 * counter,
            64,
            Access.READ,
            f"Counter {counter.name.lower().replace('_', ' ')}, 0 at start",
        )
    ]
    return (*_identity(shape, fingerprint), *_run(bus, causes), *halves)


def render_markdown(registers: tuple[Register, ...]) -> str:
    """Return the register map as a Markdown table, fields below their registers."""
    lines = [
        "| offset | register | access | reset | what it is |",
        "| --- | --- | --- | --- | --- |",
    ]
    for register in registers:
        lines.append(
            f"| {register.offset:#05x} | `{register.name}` | {register.access.value} |"
            f" {register.reset:#010x} | {register.doc} |"
        )
        for field in register.fields:
            high = field.low + field.width - 1
            bits = f"{field.low}" if field.width == 1 else f"{high}:{field.low}"
            lines.append(f"| | `{field.name}` | bits {bits} | | {field.doc} |")
    return "\n".join(lines) + "\n"


def render_json(registers: tuple[Register, ...]) -> str:
    """Return the register map as JSON: ``{"registers": [{"name": ..., "offset": ...}, ...]}``."""
    entries = [
        {
            "name": register.name,
            "offset": register.offset,
            "access": register.access.value,
            "reset": register.reset,
            "mask": register.mask,
            "doc": register.doc,
            "fields": [
                {"name": field.name, "low": field.low, "width": field.width, "doc": field.doc}
                for field in register.fields
            ],
        }
        for register in registers
    ]
    return json.dumps({"registers": entries}, indent=2) + "\n"


def render_c_header(registers: tuple[Register, ...]) -> str:
    """Return the register map as a C header: offsets, field masks and shifts, causes."""
    lines = ["#ifndef CELOSIA_REGISTERS_H", "#define CELOSIA_REGISTERS_H", ""]
    for register in registers:
        name = f"CELOSIA_{register.name.upper()}"
        lines.append(f"#define {name}_OFFSET {register.offset:#05x}u /* {register.doc} */")
        if register.access is Access.CONSTANT:
            lines.append(f"#define {name}_VALUE {register.reset:#010x}u")
        for field in register.fields:
            mask = ((1 << field.width) - 1) << field.low
            lines.append(f"#define {name}_{field.name.upper()}_MASK {mask:#010x}u")
            lines.append(f"#define {name}_{field.name.upper()}_SHIFT {field.low}u")
    stripes = sum(r.name.startswith("stripe") and r.name.endswith("_low") for r in registers)
    lines += ["", f"#define CELOSIA_STRIPES {stripes}"]
    lines += [f"#define CELOSIA_CAUSE_{cause.name} {cause.value}u" for cause in Cause]
    texts = ", ".join(f'"{cause.words}"' for cause in Cause)
    lines.append(f"#define CELOSIA_CAUSE_TEXTS {{{texts}}} /* by number */")
    return "\n".join([*lines, "", "#endif", ""])

"""Bit layout of descriptors: 512 bits each, fields packed from bit 0, the rest zero."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from celosia.dataflow.descriptors import (
    COMPUTE_LOOPS,
    DESCRIPTOR_BYTES,
    Buffer,
    Compute,
    Descriptor,
    End,
    Keep,
    Load,
    Post,
    Sliding,
    Stamp,
    Store,
    Token,
    Transfer,
)
from celosia.models.network import MAX_ACTIVATION_BITS

DESCRIPTOR_BITS = 8 * DESCRIPTOR_BYTES
TOKENS = len(Token)


class Opcode(enum.Enum, shape=4):
    """What a descriptor asks for. 0 is illegal on purpose: zeroed memory is no program."""

    LOAD = 1
    COMPUTE = 2
    POST = 3
    STORE = 4
    STAMP = 5
    END = 6
    KEEP = 7


KEEP_ADDRESS_BITS = 16
KEEP_LANE_BITS = 8

HEADER = {
    "opcode": Opcode,
    "wait": unsigned(TOKENS),
    "signal": unsigned(TOKENS),
    "reserved": unsigned(6),
}

TRANSFER = {
    "address": unsigned(64),
    "buffer_address": unsigned(16),
    "words": unsigned(16),
    "n1": unsigned(16),
    "n2": unsigned(16),
    "n3": unsigned(8),
    "s1": signed(32),
    "s2": signed(32),
    "s3": signed(32),
    "d1": unsigned(16),
    "d2": unsigned(16),
    "d3": unsigned(16),
}

HeaderLayout = data.StructLayout(HEADER)
LoadLayout = data.StructLayout(HEADER | TRANSFER | {"target": unsigned(2), "lane": unsigned(8)})
TableLoadLayout = data.StructLayout(dict(LoadLayout.members) | {"table": unsigned(1)})
"""Of engines that have tables: a load of one has target 0 and ``table`` 1."""

StoreLayout = data.StructLayout(HEADER | TRANSFER)
"""Also of a stamp (its address, counts 1), of the end (all zero), and of a keep, whose address
holds the activation word in bits 0 to 15 and the pixel lane in bits 16 to 23."""

LoopLayout = data.StructLayout(
    {
        "count": unsigned(16),
        # What to add to each address when this loop advances and all inner ones return
        # to 0: one adder for each operand in hardware. The encoder derives it from strides.
        "activations": unsigned(16),
        "weights": unsigned(16),
        "accumulators": unsigned(16),
    }
)
ComputeLayout = data.StructLayout(
    HEADER
    | {
        "loops": data.ArrayLayout(LoopLayout, COMPUTE_LOOPS),
        "reduction": unsigned(COMPUTE_LOOPS),
        "activations": unsigned(16),
        "weights": unsigned(16),
        "accumulators": unsigned(16),
        "activations_signed": unsigned(1),
        "accumulate": unsigned(1),
        # Of precision-scalable columns: bits of an operand, 0 for all others.
        "weight_bits": unsigned(5),
        "activation_bits": unsigned(5),
        "weights_signed": unsigned(1),
        "scaled": unsigned(1),
        "rounded": unsigned(1),
    }
)

SLIDING = {
    "sliding": unsigned(1),
    "skip_rows": unsigned(4),
    "skip_columns": unsigned(4),
    # Less one, as strides are at least 1.
    "row_stride": unsigned(4),
    "column_stride": unsigned(4),
    "first_lane": unsigned(8),
}

SlidingComputeLayout = data.StructLayout(dict(ComputeLayout.members) | SLIDING)
"""Of engines whose columns may have windows of their own channel."""

POST_COUNTS = ("window_x", "window_y", "out_x", "out_y", "pixels", "groups")
POST_WORDS = (
    "acc_window_x", "acc_window_y", "acc_out_x", "acc_out_y",
    "out_out_x", "out_out_y", "out_pixel", "out_word",
    "accumulators", "constants", "outputs", "residuals",
)  # fmt: skip
PostLayout = data.StructLayout(
    HEADER
    | {name: unsigned(16) for name in POST_COUNTS}
    # Strides as in the value, not deltas; see Post.
    | {name: unsigned(16) for name in POST_WORDS}
    | {
        "lane_group": unsigned(8),
        "low": signed(MAX_ACTIVATION_BITS + 1),
        "high": signed(MAX_ACTIVATION_BITS + 1),
        "rounding": unsigned(1),
        "residual": unsigned(1),
        "residual_signed": unsigned(1),
        "residual_scaled": unsigned(1),
        "scaled": unsigned(1),
        "output_signed": unsigned(1),
    }
)


LOOKUP = {"looks_up": unsigned(1), "table": unsigned(4)}

TablePostLayout = data.StructLayout(dict(PostLayout.members) | LOOKUP)
"""Of engines that have tables."""


def _mask(tokens: Iterable[Token]) -> int:
    return sum(1 << token for token in tokens)


def _pack(layout: data.StructLayout, values: Any) -> int:
    constant: Any = layout.const(values)
    packed: int = constant.as_value().value
    return packed & ((1 << DESCRIPTOR_BITS) - 1)


def _header(opcode: Opcode, descriptor: Descriptor) -> dict[str, object]:
    signal = () if isinstance(descriptor, End) else descriptor.signal
    return {"opcode": opcode, "wait": _mask(descriptor.wait), "signal": _mask(signal)}


def _transfer(transfer: Transfer) -> dict[str, object]:
    return {name: getattr(transfer, name) for name in TRANSFER}


def _deltas(strides: list[int], counts: list[int]) -> list[int]:
    """Turn strides into what to add when a loop advances and its inner loops return to 0."""
    deltas, inner = [], 0
    for stride, count in zip(strides, counts, strict=True):
        deltas.append((stride - inner) & 0xFFFF)
        inner += stride * (count - 1)
    return deltas


def _compute(descriptor: Compute) -> dict[str, object]:
    counts = [loop.count for loop in descriptor.loops]
    deltas = {
        name: _deltas([getattr(loop, name) for loop in descriptor.loops], counts)
        for name in ("activations", "weights", "accumulators")
    }
    loops = [
        {"count": count, **{name: deltas[name][index] for name in deltas}}
        for index, count in enumerate(counts)
    ]
    loops += [{"count": 1, "activations": 0, "weights": 0, "accumulators": 0}] * (
        COMPUTE_LOOPS - len(loops)
    )
    precision = descriptor.precision
    return {
        "loops": loops,
        "reduction": sum(loop.reduction << index for index, loop in enumerate(descriptor.loops)),
        "activations": descriptor.activations,
        "weights": descriptor.weights,
        "accumulators": descriptor.accumulators,
        "activations_signed": descriptor.activations_signed,
        "accumulate": descriptor.accumulate,
        "weight_bits": 0 if precision is None else precision.weight_bits,
        "activation_bits": 0 if precision is None else precision.activation_bits,
        "weights_signed": precision is not None and precision.weights_signed,
        "scaled": descriptor.scaled,
        "rounded": descriptor.rounded,
    }


def _sliding(sliding: Sliding | None) -> dict[str, object]:
    if sliding is None:
        return dict.fromkeys(SLIDING, 0)
    return {
        "sliding": 1,
        "skip_rows": sliding.skip_rows,
        "skip_columns": sliding.skip_columns,
        "row_stride": sliding.row_stride - 1,
        "column_stride": sliding.column_stride - 1,
        "first_lane": sliding.first_lane,
    }


def _post(descriptor: Post) -> dict[str, object]:
    words: dict[str, object] = {name: getattr(descriptor, name) & 0xFFFF for name in POST_WORDS}
    flags = ("residual", "residual_signed", "residual_scaled", "scaled", "output_signed")
    return (
        words
        | {name: getattr(descriptor, name) for name in POST_COUNTS}
        | {name: getattr(descriptor, name) for name in ("lane_group", "low", "high", *flags)}
        | {"rounding": descriptor.rounding.value}
        | {"looks_up": descriptor.table is not None, "table": descriptor.table or 0}
    )


def encode(descriptor: Descriptor) -> int:
    """Return the 512-bit form of ``descriptor``; byte 0 in memory is bits 0 to 7."""
    match descriptor:
        case Load():
            table = descriptor.target is Buffer.TABLES
            fields = {
                "target": 0 if table else descriptor.target.value,
                "lane": descriptor.lane,
                "table": table,
            }
            values = _header(Opcode.LOAD, descriptor) | _transfer(descriptor.transfer) | fields
            return _pack(TableLoadLayout, values)
        case Compute():
            values = _header(Opcode.COMPUTE, descriptor) | _compute(descriptor)
            return _pack(SlidingComputeLayout, values | _sliding(descriptor.sliding))
        case Post():
            return _pack(TablePostLayout, _header(Opcode.POST, descriptor) | _post(descriptor))
        case Store():
            return _pack(
                StoreLayout, _header(Opcode.STORE, descriptor) | _transfer(descriptor.transfer)
            )
        case Keep():
            transfer = descriptor.transfer
            place = {"address": transfer.address | descriptor.lane << KEEP_ADDRESS_BITS}
            values = _header(Opcode.KEEP, descriptor) | _transfer(transfer) | place
            return _pack(StoreLayout, values)
        case Stamp():
            transfer = Transfer(address=descriptor.address, buffer_address=0, words=1)
            return _pack(StoreLayout, _header(Opcode.STAMP, descriptor) | _transfer(transfer))
        case End():
            return _pack(StoreLayout, _header(Opcode.END, descriptor))

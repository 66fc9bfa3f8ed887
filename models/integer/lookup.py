"""Functions between codes: exact tables, and what makes their indices looks up in them itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.functions import Line, Steps
from celosia.models.graph import FloatConv
from celosia.models.grid import Grid
from celosia.models.integer.agreement import Agreement
from celosia.models.integer.steps import Rule
from celosia.models.network import Conv, Network, Requant, Window
from celosia.models.operations import MULTIPLY
from celosia.models.tables import MAX_TABLE_BITS, Table
from celosia.models.validation import reads


def steps_of(grid: Grid, rule: Rule) -> Steps:
    """Return what codes of ``grid``, rounded by ``rule``, leave of a value."""
    low, high = grid.format.low, grid.format.high
    begins, theirs = rule.begins(np.arange(low + 1, high + 1))
    return Steps(
        scale=grid.scale, zero=grid.zero, low=low, begins=tuple(begins.tolist()),
        theirs=tuple(theirs.tolist()),
    )  # fmt: skip


def code_table(op: FloatConv, source: Grid, target: Grid, rule: Rule) -> tuple[Conv, Agreement]:
    """Return the copy of codes that ends in the table of ``op``, and that it agrees.

    Raises
    ------
    CelosiaError
        If the function is of sums or differs between channels, so that no codes are its indices,
        or of codes of more bits than tables have.
    """
    bent = np.ones(1) if op.slope is None else op.slope
    values = op.weight.ravel(), op.bias, bent
    alike = op.pointwise and op.residual is None
    if op.function is None or not alike or any((each != each[0]).any() for each in values):
        label = "" if op.function is None else op.function.label
        raise CelosiaError(
            f"layer {op.name!r} ends in {label}, and what that is taken of is not quantised in the "
            "model: put a quantiser (QuantizeLinear, Quant) before it"
        )
    if not isinstance(source.format, Fixed) or source.format.bits > MAX_TABLE_BITS:
        raise CelosiaError(
            f"layer {op.name!r} takes {op.function.label} of codes of {source.format.name}, tables "
            f"are for {MAX_TABLE_BITS} bits at most: quantise its input to fewer"
        )
    codes = np.arange(source.format.low, source.format.high + 1)
    gain, offset, slope = (float(each[0]) for each in values)
    line = Line(gain=gain, offset=offset, slope=slope, low=op.low, high=op.high)
    real = torch.from_numpy((codes - source.zero) * source.scale)
    entries = steps_of(target, rule).codes(op.function(line(real))).numpy().astype(np.int64)
    rows = len(op.weight)
    zero, one = np.zeros(rows, np.int64), np.ones(rows, np.int64)
    conv = Conv(
        name=op.name,
        input=op.input,
        output=op.output,
        window=op.window,
        groups=rows,
        weights=one.reshape(rows, 1, 1, 1),
        formats=(Fixed(bits=2),) * rows,
        requant=Requant(
            bias=zero, positive=one, negative=one, residual=zero, shift=zero,
            low=int(codes[0]), high=int(codes[-1]),
            table=Table(function=op.function.label, scale=source.scale, values=entries),
        ),
        useful=False,
    )  # fmt: skip
    return conv, Agreement(layer=op.name, differ=0, count=len(codes), margin=0.0)


def fold_tables(network: Network) -> Network:
    """Return ``network`` where convolutions look up themselves what a copy would look up.

    The copy's input is then no tensor any more; it is read by nothing else.
    """
    ops = {op.output: op for op in network.ops}
    readers: dict[str, int] = {}
    for op in network.ops:
        for name in reads(op):
            readers[name] = readers.get(name, 0) + 1
    gone = set()
    for copy in network.ops:
        maker = ops.get(copy.input) if isinstance(copy, Conv) and _looks_up(copy) else None
        if not isinstance(copy, Conv) or not isinstance(maker, Conv):
            continue
        table, requant = copy.requant.table, maker.requant
        single = readers[copy.input] == 1 and copy.input not in network.outputs
        if table is None or requant.table is not None or not single:
            continue
        first = copy.requant.low
        entries = table.values[requant.low - first : requant.high - first + 1]
        folded = replace(requant, table=replace(table, values=entries))
        del ops[copy.input]
        gone.add(copy.input)
        ops[copy.output] = replace(maker, output=copy.output, requant=folded)
    kept = {op.name: op for op in ops.values()}
    return replace(
        network,
        tensors=tuple(tensor for tensor in network.tensors if tensor.name not in gone),
        ops=tuple(kept[op.name] for op in network.ops if op.name in kept),
    )


def _looks_up(op: Conv) -> bool:
    """Whether ``op`` changes nothing but by its table."""
    requant = op.requant
    plain = op.window == Window(kernel=(1, 1)) and op.weights.shape[:2] == (op.groups, 1)
    kept = op.residual is None and op.scales is None and op.operation == MULTIPLY
    same = (requant.positive == 1).all() and (requant.negative == 1).all()
    still = not requant.bias.any() and not requant.shift.any()
    table = requant.table is not None
    return bool(table and plain and kept and same and still and (op.weights == 1).all())

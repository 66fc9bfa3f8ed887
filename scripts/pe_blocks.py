"""Blocks of columns in each circuit, of 16 x 16 products where DSPs are shared, as rows."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.models.formats import parse_format
from celosia.models.operations import DISTANCE, MULTIPLY, Operation, shift
from celosia.rtl.block import ProductBlock
from celosia.scripts.pe_case import PeCase

LANES = 16
ACCUMULATOR_BITS = 24
PROOFS = {
    Circuit.DSP: "tests/rtl/test_dsp_dot.py::test_products",
    Circuit.LANES: "tests/rtl/test_proofs.py::test_products",
    Circuit.LUTS: "tests/rtl/test_proofs.py::test_products",
}
OPERATION_PROOF = "tests/rtl/test_operations.py::test_terms"

DSP_BLOCKS = (
    ("fixed8", 8, 8, 2), ("fixed8", 8, 16, 1),
    ("fixed4", 4, 8, 2), ("fixed4", 4, 5, 3), ("fixed4", 4, 1, 16),
    ("fixed4", 8, 8, 2), ("fixed8", 4, 8, 2),
)  # fmt: skip
"""Weights' format, activations' bits, columns and pixels: each of these packs otherwise."""

OTHER_BLOCKS = (
    (Circuit.LUTS, "fixed4", 4), (Circuit.LUTS, "fixed8", 8), (Circuit.LUTS, "fixed4", 8),
    (Circuit.LUTS, "sp2_4", 4), (Circuit.LUTS, "sp2_4", 8), (Circuit.LUTS, "pot_4", 4),
    (Circuit.LUTS, "pot_4", 8), (Circuit.LANES, "fixed8", 8),
)  # fmt: skip
"""Circuit, weights' format, activations' bits."""

OPERATION_BLOCKS = ((DISTANCE, "fixed8", 8), (shift(6), "pot_4", 8))
"""What columns compute that do not multiply, weights' format, activations' bits."""


def block_cases() -> Sequence[PeCase]:
    """Return the case of each block."""
    cases = [_case(Circuit.DSP, *block) for block in DSP_BLOCKS]
    cases += [_case(*block, columns=2, pixels=1) for block in OTHER_BLOCKS]
    for operation, weights, bits in OPERATION_BLOCKS:
        cases.append(_case(Circuit.LANES, weights, bits, 2, 1, operation))
    return cases


def _case(
    circuit: Circuit,
    weights: str,
    activation_bits: int,
    columns: int,
    pixels: int,
    operation: Operation = MULTIPLY,
) -> PeCase:
    fmt = parse_format(weights)
    group = ColumnGroup(format=fmt, count=columns, circuit=circuit, operation=operation)
    kind = circuit.value if operation == MULTIPLY else operation.name
    return PeCase(
        pe=f"block of {columns} x {pixels} {weights} columns, {kind}",
        build=functools.partial(block, group, activation_bits, pixels),
        lanes=LANES * columns * pixels,
        weight_bits=fmt.bits,
        act_bits=activation_bits,
        dsp_allowed=circuit is not Circuit.LUTS,
        proof=PROOFS[circuit] if operation == MULTIPLY else OPERATION_PROOF,
    )


def block(group: ColumnGroup, activation_bits: int, pixels: int) -> ProductBlock:
    """Return the block of the columns of ``group``, of 16 lanes and ``pixels`` pixels."""
    shape = ArrayShape(
        columns=(group,),
        lanes=LANES,
        pixels=pixels,
        accumulator_bits=ACCUMULATOR_BITS,
        activation_bits=activation_bits,
    )
    return ProductBlock(shape)

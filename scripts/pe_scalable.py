"""The precision-scalable units, each over two sets of precisions, as rows of the table.

One unit, with 16-bit operands and an accumulator that holds their sums, is measured for both sets.
A product's cycles are the mean over the set, so products a cycle are the harmonic mean of
those at its precisions.
"""

from __future__ import annotations

import functools

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.precision import MAX_PRECISION, Precision, passes
from celosia.rtl.scalable.unit import ScalableMac
from celosia.scripts.pe_case import PeCase

LANES = 16
ACCUMULATOR_BITS = 40
PRECISIONS = {"4..8": range(4, 9), "4..16": range(4, 17)}
"""Sets of precisions that a network is run at, drawn with equal shares ("2-in-1", MICRO 2021)."""

PROOF = "tests/rtl/test_scalable_unit.py::test_all_operands_up_to_8_bits"
"""All inputs at up to 8 bits."""

WIDE_PROOF = "tests/rtl/test_scalable_unit.py::test_all_pairs_of_bits"
"""All pairs of bits at up to 16 bits, of sums that are proved to be made of such pairs."""


def scalable_cases() -> tuple[PeCase, ...]:
    """Return the case of each circuit and set of precisions."""
    return tuple(
        PeCase(
            pe=f"{circuit.value} {name}",
            build=functools.partial(
                ScalableMac,
                circuit=circuit,
                lanes=LANES,
                weight_bits=MAX_PRECISION,
                accumulator_bits=ACCUMULATOR_BITS,
            ),
            lanes=LANES,
            weight_bits=MAX_PRECISION,
            act_bits=MAX_PRECISION,
            cycles=mean_passes(circuit, widths),
            proof=PROOF if max(widths) <= 8 else WIDE_PROOF,
        )
        for name, widths in PRECISIONS.items()
        for circuit in Circuit
        if circuit.scalable
    )


def mean_passes(circuit: Circuit, widths: range) -> float:
    """Return the passes of a word, on average, at precisions of ``widths`` bits each."""
    counts = [
        passes(circuit, Precision(weight_bits=bits, activation_bits=bits, weights_signed=True))
        for bits in widths
    ]
    return sum(counts) / len(counts)

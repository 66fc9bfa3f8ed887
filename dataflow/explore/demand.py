"""What a network asks of any accelerator that runs it, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.accelerator import Tables
from celosia.dataflow.array_shape import ArrayShape, ColumnGroup
from celosia.models.bounds import accumulator_bits
from celosia.models.errors import CelosiaError
from celosia.models.formats import BlockScaling, Element, Fixed, Format
from celosia.models.network import Conv, Network
from celosia.models.operations import MULTIPLY, Operation

Ability = tuple[Format, Operation]
"""What a column does: an operation with weights of a format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What columns, activations and accumulators must be able to do.

    Attributes
    ----------
    abilities : tuple of (Format, Operation)
        Of the network's rows, each once, those with the most weights first; one that multiplies
        is always among them, for copies and pooling.
    activation_bits, accumulator_bits : int
        The least widths that hold every value.
    scaling, elements
        Of :class:`celosia.dataflow.array_shape.ArrayShape`.
    tables
        For the largest of the network's, two of them; None where it has none.
    """

    abilities: tuple[Ability, ...]
    activation_bits: int
    accumulator_bits: int
    scaling: BlockScaling | None = None
    elements: Element | None = None
    tables: Tables | None = None

    @property
    def scalable(self) -> bool:
        """Whether precision-scalable columns can do it."""
        return self.scaling is None and all(
            isinstance(fmt, Fixed) and operation == MULTIPLY for fmt, operation in self.abilities
        )

    def holds_lanes(self, lanes: int) -> bool:
        """Whether an array that is not precision-scalable may have so many lanes."""
        groups = tuple(ColumnGroup(format=f, count=1, operation=op) for f, op in self.abilities)
        try:
            ArrayShape(
                columns=groups,
                lanes=lanes,
                pixels=1,
                activation_bits=self.activation_bits,
                scaling=self.scaling,
                elements=self.elements,
            )
        except ValueError:
            return False
        return True


def demand(network: Network) -> Demand:
    """Return what ``network`` asks for.

    Raises
    ------
    CelosiaError
        If layers have scales of different kinds: no array has both.
    """
    convs = [op for op in network.ops if isinstance(op, Conv)]
    weights: dict[Ability, int] = {}
    bits = 16
    for conv in convs:
        source = network.tensor(conv.input)
        bits = max(bits, accumulator_bits(conv, source.format, source.scaling))
        for fmt in conv.formats:
            key = (fmt, conv.operation)
            weights[key] = weights.get(key, 0) + conv.weights[0].size
    abilities = sorted(weights, key=lambda key: (-weights[key], key[0].name, key[1].name))
    if all(operation != MULTIPLY for _, operation in abilities):
        abilities.append((Fixed(bits=8), MULTIPLY))
    scaling, elements = _scaling(network, convs)
    return Demand(
        abilities=tuple(abilities),
        activation_bits=max(tensor.format.bits for tensor in network.tensors),
        accumulator_bits=bits,
        scaling=scaling,
        elements=elements,
        tables=_tables(convs),
    )


def _tables(convs: list[Conv]) -> Tables | None:
    sizes = [len(conv.requant.table.values) for conv in convs if conv.requant.table is not None]
    return Tables(index_bits=max(4, (max(sizes) - 1).bit_length()), count=2) if sizes else None


def _scaling(network: Network, convs: list[Conv]) -> tuple[BlockScaling | None, Element | None]:
    scaled = [tensor for tensor in network.tensors if tensor.scaling is not None]
    kinds = {conv.scales.scaling for conv in convs if conv.scales is not None}
    kinds |= {tensor.scaling for tensor in scaled if tensor.scaling is not None}
    if len(kinds) > 1:
        raise CelosiaError(
            f"network {network.name!r} has scales of {len(kinds)} kinds, an array has one: "
            "quantise all layers with the same scales"
        )
    # Those without a sign come first: an array that has them has the same with a sign.
    formats = sorted((tensor.format for tensor in scaled), key=lambda fmt: fmt.signed)
    return next(iter(kinds), None), (formats[0] if formats else None)

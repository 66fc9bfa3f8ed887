"""How quick an accelerator within a budget can be at most."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.explore.demand import Demand
from celosia.dataflow.explore.outcome import Goal, Quantity
from celosia.dataflow.explore.space import SCALABLE, AcceleratorSpace
from celosia.dataflow.explore.starts import Area, smallest
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.mix import Budget, ColumnCost, choose_mix
from celosia.models.formats import Fixed
from celosia.models.network import Conv, Network
from celosia.models.operations import MULTIPLY

_COUNT: Final = 16
"""Columns that are compared with twice as many: what a pair of columns shares counts rightly."""

_PLENTY: Final = 1e9
"""Look-up tables or DSP blocks where they are not limited."""

_LEAST: Final = 1e-3
"""Look-up tables that a product takes at least: nothing is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The least cycles a start, and why.

    ``products`` a cycle are the most that columns within the budget make, were everything else
    free; ``rate`` the most bytes a cycle in each direction.
    """

    cycles: int
    products: int
    rate: int


def bound(
    space: AcceleratorSpace,
    goal: Goal,
    area: Area,
    networks: tuple[Network, ...],
    memory: MemoryModel,
) -> Bound:
    """Return a bound on every accelerator of ``space`` within the limits of ``goal``.

    Each product of the network takes a lane of a column for a cycle; each input and output of each
    frame of a start crosses the port once, each weight once a start. Columns cost what one more of
    them adds to the area, at the sizes where that is least for a product, as if the budget had
    nothing else to hold: the mix of two kinds with the most products is then no worse than any
    accelerator's (:mod:`celosia.dataflow.mix`).
    """
    most = _products(space, goal, area)
    buses = next(knob for knob in space.knobs if knob.name == "data_bits")
    widest = Bus(data_bits=max(buses.choices), burst_beats=1)
    rate = memory.on_bus(widest).bytes_per_cycle
    cycles = [
        max(
            -(-goal.samples * _useful(network) // most),
            -(-_moved(network, goal.samples, going) // rate),
        )
        for network in networks
        for going in (True, False)
    ]
    least = [max(pair) for pair in zip(cycles[::2], cycles[1::2], strict=True)]
    return Bound(cycles=min(least), products=most, rate=rate)


def _useful(network: Network) -> int:
    return sum(network.products(op) for op in network.ops)


def _moved(network: Network, samples: int, going_in: bool) -> int:
    """Return the bytes that must be read, or written, at least for so many samples."""
    if not going_in:
        bits = [samples * _bits(network, name) for name in network.outputs]
    else:
        bits = [samples * _bits(network, name) for name in network.inputs]
        for op in network.ops:
            if isinstance(op, Conv) and op.useful:
                each = op.weights[0].size
                bits.append(sum(each * fmt.bits for fmt in op.formats))
    return sum(bits) // 8


def _bits(network: Network, name: str) -> int:
    tensor = network.tensor(name)
    return math.prod(tensor.shape) * tensor.format.bits


def _products(space: AcceleratorSpace, goal: Goal, area: Area) -> int:
    """Return the most products a cycle of columns within the budget."""
    sizes = {knob.name: knob.choices for knob in space.knobs}
    largest: int = max(sizes["columns"]) * max(sizes["lanes"]) * max(sizes["pixels"])
    limits = {limit.quantity: limit.value for limit in goal.limits}
    budget = Budget(lut=limits.get(Quantity.LUT, _PLENTY), dsp=limits.get(Quantity.DSP, _PLENTY))
    costs = [
        min(
            (
                _cost(space, area, need, group, (lanes, pixels))
                for lanes in sizes["lanes"]
                for pixels in {min(sizes["pixels"]), max(sizes["pixels"])}
            ),
            key=lambda cost: (cost.lut, cost.dsp),
        )
        for need in space.demands
        for group in _kinds(space, need, sizes["scalable"])
    ]
    # Two more: what a third kind could make of what is left below one product of each.
    return min(largest, choose_mix(costs, budget).products + 2)


def _kinds(space: AcceleratorSpace, need: Demand, scalable: Sequence[str]) -> Iterator[ColumnGroup]:
    """Yield every kind of column that accelerators for ``need`` may have."""
    for fmt, operation in need.abilities:
        circuits = {Circuit.LANES} if operation != MULTIPLY else {Circuit.LUTS}
        if operation == MULTIPLY and isinstance(fmt, Fixed):
            circuits |= {space.hard, *(Circuit(name) for name in scalable if name != SCALABLE[0])}
        for circuit in sorted(circuits, key=lambda circuit: circuit.value):
            yield ColumnGroup(format=fmt, count=_COUNT, circuit=circuit, operation=operation)


def _cost(
    space: AcceleratorSpace, area: Area, need: Demand, group: ColumnGroup, size: tuple[int, int]
) -> ColumnCost:
    """Return what a product takes in more columns like ``group``, of ``size`` lanes and pixels."""
    least = space.accelerator(next(smallest(space)))
    lanes, pixels = size
    if group.circuit is Circuit.FUSION:
        lanes = max(lanes, 16)
    amounts = []
    for count in (_COUNT, 2 * _COUNT):
        array = ArrayShape(
            columns=(replace(group, count=count),),
            lanes=lanes,
            pixels=pixels,
            accumulator_bits=need.accumulator_bits,
            activation_bits=need.activation_bits,
            scaling=need.scaling,
        )
        amounts.append(area(replace(least, array=array, post_lanes=1)))
    added = _COUNT * lanes * pixels
    lut, dsp = (max(0.0, amounts[1][name] - amounts[0][name]) / added for name in ("lut", "dsp"))
    return ColumnCost(
        weights=group.format.name,
        activation_bits=need.activation_bits,
        circuit=group.circuit,
        lut=max(lut, _LEAST),
        dsp=dsp,
    )

"""What a report says of a run of the dense engine besides its verdict, as JSON values."""

from __future__ import annotations

from typing import Any, Final

from celosia.dataflow.accesses import Traffic, traffic
from celosia.dataflow.area import ULTRASCALE_PLUS as FAMILY
from celosia.dataflow.area import estimate_area
from celosia.dataflow.descriptors import Unit
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import Program
from celosia.dataflow.stalls import Stall
from celosia.dataflow.timeline import timeline
from celosia.dataflow.timing import Timing
from celosia.fpga.devices import ZCU102

BINS: Final = 160
"""Parts of a run whose shares of work are told."""

_REASONS: Final = {
    Stall.FETCH: "descriptors still to be fetched",
    Stall.LATENCY: "the memory's latency",
    Stall.BANDWIDTH: "the memory's bandwidth",
    Stall.BUFFER: "a place in a buffer still in use",
    Stall.OUTPUTS: "outputs of the layer before",
    Stall.POST: "post-processing",
    Stall.TAIL: "the last post-processing and stores",
}
SHAPE: Final = "shape"
_TIGHT: Final = 0.9


def profile(program: Program, predicted: Timing, memory: MemoryModel) -> dict[str, Any]:
    """Return what bounds each layer, what memory moves, what each unit does over time.

    ``layers`` are in the order of the program: the least cycles that the array can take
    (``ideal``), what cycles of the array went to, bytes by operand, and in words what bounds it.
    """
    accelerator = program.accelerator
    layers = []
    for layer, timing in zip(program.layers, predicted.layers, strict=True):
        ideal = -(-layer.products // accelerator.products)
        spent = {stall.value: cycles for stall, cycles in timing.stalls.items()}
        moved = traffic(program.descriptors[layer.first : layer.stop], accelerator)
        del moved[Traffic.PROGRAM]  # of whole chunks, which layers share
        layers.append(
            {
                "ideal": ideal,
                "stalls": spent,
                "bytes": {
                    kind.value: count
                    for kind, count in moved.items()
                    if kind is not Traffic.PROGRAM
                },
                "bound": _bound(ideal, timing.stalls),
            }
        )
    found = timeline(program, memory)
    return {
        "products_per_cycle": accelerator.products,
        "samples_of_a_start": program.samples,
        "ideal": -(-program.products // accelerator.products),
        "layers": layers,
        "stalls": {stall.value: cycles for stall, cycles in predicted.stalls.items()},
        "traffic": {kind.value: count for kind, count in predicted.traffic.items()},
        "activity": {
            unit.name.lower(): [round(float(share), 4) for share in found.busy(unit, BINS)]
            for unit in Unit
        },
        "columns": [
            {
                "format": group.format.name,
                "count": group.count,
                "operation": group.operation.name,
                "circuit": group.circuit.value,
            }
            for group in accelerator.array.column_groups
        ],
        "area": {
            "device": ZCU102.name,
            "total": {name: round(n, 1) for name, n in estimate_area(accelerator, FAMILY).items()},
            "budget": ZCU102.budget.as_dict(),
        },
        "activation_bits": accelerator.array.activation_bits,
        "accumulator_bits": accelerator.array.accumulator_bits,
    }


def _bound(ideal: int, stalls: dict[Stall, int]) -> str:
    """Return what takes most of the array's time beyond the least that it can take."""
    computing = stalls.get(Stall.NONE, 0)
    total = sum(stalls.values())
    if not total or ideal / total >= _TIGHT:
        return f"the array: {ideal:,} of {total:,} cycles are useful"
    waits = {_REASONS[stall]: n for stall, n in stalls.items() if stall is not Stall.NONE}
    waits[SHAPE] = computing - ideal
    worst = max(waits, key=lambda name: waits[name])
    cycles = waits[worst]
    if worst == SHAPE:
        return (
            f"its shape: {cycles:,} of {total:,} cycles are of lanes, columns and pixels that it "
            "cannot fill"
        )
    return f"{worst}: {cycles:,} of {total:,} cycles"

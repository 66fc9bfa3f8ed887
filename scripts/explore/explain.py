"""Why the mapping found for a layer beats the named dataflows, each in its place and priced."""

from __future__ import annotations

from typing import Any

from celosia.dataflow.arrange import arrange
from celosia.dataflow.compile import compile_network
from celosia.dataflow.explore.dataflows import Dataflow, map_step_as
from celosia.dataflow.explore.reasons import reasons
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.scripts.explore.run import Exploration

CHOSEN = "chosen"


def explain(exploration: Exploration, layer: str) -> list[dict[str, Any]]:
    """Return what the network costs with each mapping of ``layer``, the chosen one first.

    Each entry has ``mapping`` (a dataflow's name, or "chosen"), ``cycles`` of the network,
    ``layer_cycles``, and ``text``: what bounds the layer then, or why there is no such mapping.

    Raises
    ------
    CelosiaError
        When the network has no such layer: lists those that it has.
    """
    best, mapping = exploration.best.job, exploration.mapped.mapping
    network = exploration.request.subject.variants[best.variant].network
    arrangement = arrange(network, best.accelerator)
    steps = {step.name: step for step in arrangement.lowered.steps}
    if layer not in steps:
        raise CelosiaError(f"--explain: there is no layer {layer!r}: known are {', '.join(steps)}")
    plan = StepPlan(steps[layer], arrangement, best.accelerator)
    found = [_entry(exploration, CHOSEN, mapping, plan)]
    for dataflow in Dataflow:
        try:
            other = mapping.replaced(layer, map_step_as(plan, dataflow))
            found.append(_entry(exploration, dataflow.value, other, plan))
        except CelosiaError as error:
            none = {"cycles": None, "layer_cycles": None}
            found.append({"mapping": dataflow.value, **none, "text": f"does not fit: {error}"})
    return found


def _entry(exploration: Exploration, name: str, mapping: Mapping, plan: StepPlan) -> dict[str, Any]:
    best, memory = exploration.best.job, exploration.request.memory
    network = exploration.request.subject.variants[best.variant].network
    program = compile_network(network, best.accelerator, mapping)
    took = timing(program, memory)
    (reason,) = [r for r in reasons(program, took, memory) if r.name == plan.step.layer]
    return {
        "mapping": name,
        "cycles": took.cycles,
        "layer_cycles": reason.cycles,
        "text": f"{reason.text}; array {reason.compute:,}, reads {reason.read:,}, "
        f"writes {reason.write:,} cycles",
    }

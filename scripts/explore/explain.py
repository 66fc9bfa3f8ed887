"""Why the mapping found for a layer beats the named dataflows, each in its place and priced."""

from __future__ import annotations

import difflib
import re
from typing import Any

from celosia.dataflow.compile import compile_network
from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.explore.evaluate import mapping_objective
from celosia.dataflow.explore.reasons import reasons
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.search import Pricer
from celosia.dataflow.search.layer import ROWS, Climber
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.network import Concat, Interleave
from celosia.scripts.explore.networks import Subject
from celosia.scripts.explore.run import Exploration

CHOSEN = "chosen"


def check_layer(subject: Subject, layer: str) -> None:
    """Refuse a name that no layer of any variant has; name those there are, like ones first.

    Copies that some accelerators need before a layer (``layer/residual``) are let through.
    """
    ops = [op for variant in subject.variants for op in variant.network.ops]
    names = list(dict.fromkeys(op.name for op in ops if not isinstance(op, Concat | Interleave)))
    if layer not in names and re.sub(r"/(input|residual)'*$", "", layer) not in names:
        raise CelosiaError(_unknown(layer, names))


def _unknown(layer: str, names: list[str]) -> str:
    like = difflib.get_close_matches(layer, names, n=len(names), cutoff=0.6)
    ordered = [*like, *(name for name in names if name not in like)]
    meant = f" (did you mean {like[0]!r}?)" if like else ""
    return f"--explain: there is no layer {layer!r}{meant}: known are {', '.join(ordered)}"


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
    memory, table = exploration.request.memory, load_energy_table("fpga")
    pricer = Pricer(network, best.accelerator, memory, table, mapping.samples)
    names = [plan.step.name for plan in pricer.plans]
    if layer not in names:
        raise CelosiaError(_unknown(layer, names))
    number, resident = names.index(layer), mapping.layer(layer).resident
    plan, objective = pricer.plans[number], mapping_objective(exploration.request.goal.objective)
    found = [_entry(exploration, CHOSEN, mapping, plan)]
    for dataflow in Dataflow:
        climber = Climber(pricer, number, objective, dataflow, 0.0, None, ROWS, resident)
        try:
            ranked = climber.search()
            if not ranked:
                raise CelosiaError(f"layer {layer!r}: its input fits no bank of the activations")
            other = mapping.replaced(layer, ranked[0].layer)
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

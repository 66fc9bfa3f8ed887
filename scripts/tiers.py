"""What simulated and predicted runs have in common; imports neither hardware nor torch."""

from __future__ import annotations

import enum
from dataclasses import asdict
from typing import Any

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.engines import Description, network_kind
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import BaseProgram
from celosia.dataflow.search.outline import Outline
from celosia.dataflow.timing import Timing
from celosia.models.errors import CelosiaError
from celosia.models.network import Network


class Tier(enum.Enum):
    """What answers what a network does on an accelerator."""

    RTL = "rtl"
    """The hardware, simulated, and compared with what the models expect."""
    MODEL = "model"
    """The models alone: :mod:`celosia.scripts.predict`."""


def heading(
    tier: Tier, network: Network, program: BaseProgram | Outline, memory: MemoryModel
) -> dict[str, Any]:
    """Return what answered, and what it was asked about, as JSON values."""
    return {
        "tier": tier.value,
        "network": network.name,
        "accelerator": program.accelerator.name,
        "weights": "trained" if network.trained else "random",
        "memory": asdict(memory),
        "samples_per_start": program.samples,
    }


def compile_for(
    network: Network, accelerator: Description, mapping: Mapping | None = None
) -> BaseProgram:
    """Compile ``network`` for an engine of any kind; only the dense one takes a ``mapping``."""
    if isinstance(accelerator, Accelerator):
        return compile_network(network, accelerator, mapping)
    if mapping is not None:
        raise CelosiaError(
            f"accelerator {accelerator.name!r} takes no mapping: its tiles follow from its memories"
        )
    return network_kind(accelerator).compile(network, accelerator)


def predict(
    program: BaseProgram, memory: MemoryModel, golden: dict[str, np.ndarray]
) -> list[Timing]:
    """Return the prediction for each start of ``program``, of the samples of ``golden``."""
    kind = network_kind(program.accelerator)
    starts = len(golden[program.inputs[0]]) // program.samples
    if not kind.depends_on_data:
        return [kind.predict(program, memory, {})] * starts
    return [
        kind.predict(program, memory, {name: codes[start] for name, codes in golden.items()})
        for start in range(starts)
    ]

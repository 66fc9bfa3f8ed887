"""Whether a part has the UltraRAM that an accelerator's buffers are made of."""

from __future__ import annotations

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.engines import Description
from celosia.dataflow.memory_kinds import MemoryKind
from celosia.fpga.devices import DEVICES, Device
from celosia.models.errors import CelosiaError


def check_ultra(accelerator: Description, device: Device) -> None:
    """Refuse an accelerator that asks for UltraRAM on a part that has none.

    Vivado makes block RAM of it with a warning, and the other parts' tools whatever they like.

    Raises
    ------
    CelosiaError
        Naming the buffers, and the parts that have UltraRAM.
    """
    if not isinstance(accelerator, Accelerator) or device.budget.uram:
        return
    names = accelerator.memories.named(MemoryKind.ULTRA)
    if names:
        having = ", ".join(name for name, other in DEVICES.items() if other.budget.uram)
        raise CelosiaError(
            f"accelerator {accelerator.name!r} has {' and '.join(names)} of UltraRAM, of which "
            f'{device.name} has none: set them to "block" or "auto" in [buffers.memory], or take '
            f"a part that has it ({having})"
        )

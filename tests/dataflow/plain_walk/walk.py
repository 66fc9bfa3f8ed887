"""The event walk: when each descriptor, burst and token happens, to the cycle.

The components (modules ``event_*`` beside this one) are named as in :mod:`celosia.rtl` and hold
the registers that decide *when* hardware acts and none of its data. In every visited cycle each
component acts on what registers show, and books the change for a later cycle. Bursts are one
event: the beats inside one follow from the memory model in closed form. ``docs/architecture.md``
states the rules; the co-simulation tests hold both to them.
"""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Descriptor, Unit
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.microarchitecture import compute_latency, post_latency

from .agenda import Agenda
from .memory import ReadPort
from .sequencer import Sequencer
from .transfers import LoadUnit, StoreUnit
from .units import NestUnit, Queue, Tokens


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk found: all in cycles from start."""

    cycles: int
    stamps: tuple[int, ...]
    load_busy: int
    store_busy: int


def walk(
    accelerator: Accelerator, descriptors: tuple[Descriptor, ...], address: int, memory: MemoryModel
) -> Walked:
    """Walk a program from start to interrupt.

    ``address`` is where its descriptors lie. Raises ``ValueError`` if the program
    comes to a halt before its end (its tokens do not add up).
    """
    memory = memory.on_bus(accelerator.bus)
    agenda = Agenda()
    tokens = Tokens(agenda)
    queues = {unit: Queue(agenda) for unit in Unit}
    port = ReadPort(agenda, accelerator, memory)
    sequencer = Sequencer(agenda, accelerator, port, queues, descriptors, address)
    load = LoadUnit(agenda, queues[Unit.LOAD], tokens, port, accelerator)
    compute = NestUnit(agenda, queues[Unit.COMPUTE], tokens, compute_latency(accelerator))
    post = NestUnit(agenda, queues[Unit.POST], tokens, post_latency(accelerator))
    store = StoreUnit(agenda, queues[Unit.STORE], tokens, accelerator, memory)
    steps = (port.step, sequencer.step, load.step, compute.step, post.step, store.step)
    agenda.at(1)
    while store.done is None:
        if not agenda.advance():
            raise ValueError("the program halts: a descriptor waits for a token that nobody gives")
        for step in steps:
            step()
    return Walked(
        store.done, tuple(store.stamps), load.busy.until(store.done), store.busy.until(store.done)
    )

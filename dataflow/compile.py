"""From a network to a program.

.. code-block:: sh

    python -c "
    from celosia.dataflow.compile import compile_network
    from celosia.dataflow.presets import preset
    from celosia.models.storage import load
    program = compile_network(load('network.celosia'), preset('small'))
    print(len(program.descriptors), 'descriptors,', program.memory_size, 'bytes')"
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import Arrangement, arrange
from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS
from celosia.dataflow.emit import Emitter, StepData
from celosia.dataflow.emit_step import StepEmitter
from celosia.dataflow.mapper import map_steps
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.memory_layout import BASE_ADDRESS, CHUNK_BYTES, MemoryLayout
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.dataflow.packing import constant_words, table_words, weight_words
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.program import CompiledLayer, Program
from celosia.dataflow.residency import Residency, input_tiles, residency
from celosia.dataflow.resident import ResidentInput
from celosia.dataflow.tokens import assign_tokens
from celosia.models.errors import CelosiaError
from celosia.models.network import Network


def compile_network(
    network: Network,
    accelerator: Accelerator,
    mapping: Mapping | None = None,
    base_address: int = BASE_ADDRESS,
) -> Program:
    """Compile ``network`` for ``accelerator``.

    Parameters
    ----------
    network, accelerator
        What to run, and on what.
    mapping
        Loops of each step, and the samples of one start. Where there is none,
        :mod:`celosia.dataflow.mapper`'s, which depends on nothing but network and accelerator:
        :func:`celosia.dataflow.search.map_network` finds better ones for a memory and an objective.
    base_address
        Where the program's memory begins, a multiple of 4096.

    Raises
    ------
    CelosiaError
        If the accelerator cannot run the network (a format without a column, activations
        too wide, accumulators too narrow, a tile that fits no buffer), or the mapping is
        not legal: names the layer, what is missing and what to do.
    ValueError
        If ``base_address`` is not a multiple of 4096.
    """
    if base_address < 0 or base_address % PAGE_BYTES:
        raise ValueError(f"base_address must be a multiple of {PAGE_BYTES}, not {base_address!r}")
    arrangement = arrange(network, accelerator)
    samples = 1 if mapping is None else mapping.samples
    steps = arrangement.lowered.steps
    plans = [StepPlan(step, arrangement, accelerator, samples) for step in steps]
    if mapping is None:
        mapping = map_steps(plans)
    check_mapping(plans, mapping)
    return _Compiler(network, accelerator, arrangement, plans, mapping, base_address).program()


def check_mapping(plans: Sequence[StepPlan], mapping: Mapping) -> None:
    """Raise :class:`CelosiaError` unless ``mapping`` has a legal one for each of ``plans``."""
    names = {plan.step.name for plan in plans}
    for name, _ in mapping.layers:
        if name not in names:
            raise CelosiaError(f"mapping of layer {name!r}: the network has no such layer")
    mapped = dict(mapping.layers)
    for plan in plans:
        if plan.step.name not in mapped:
            raise CelosiaError(f"mapping: layer {plan.step.name!r} is missing")
        plan.check(mapped[plan.step.name])


def _written(plan: StepPlan) -> tuple[str, ...]:
    """Return the names under which what a step makes is compared."""
    tensor = plan.target
    sums = () if plan.step.sums is None else (plan.step.sums,)
    scales = () if tensor.scaling is None else (tensor.scales_name,)
    return (*sums, tensor.name, *scales)


class _Compiler:
    """One compilation."""

    def __init__(
        self,
        network: Network,
        accelerator: Accelerator,
        arrangement: Arrangement,
        plans: list[StepPlan],
        mapping: Mapping,
        base_address: int,
    ) -> None:
        self.network = network
        self.accelerator = accelerator
        self.arrangement = arrangement
        self.lowered = arrangement.lowered
        self.plans = plans
        self.mapping = mapping
        self.layout = MemoryLayout(arrangement, plans, mapping.samples, base_address)
        self.placements = self.layout.placements
        layers = [mapping.layer(plan.step.name) for plan in plans]
        self.residency: Residency = residency(plans, layers, self.lowered)
        self.residents = self._residents()

    def _residents(self) -> dict[int, ResidentInput]:
        """Return the inputs that stay on chip, by the number of the step that reads them."""
        found = {}
        for stay in self.residency.stays:
            plan = self.plans[stay.reader]
            layer = self.mapping.layer(plan.step.name)
            size, tiles = plan.sizes(layer)["activations"], input_tiles(plan, layer)
            found[stay.reader] = ResidentInput(plan, tiles, stay.room.start, size)
        return found

    def program(self) -> Program:
        emitter = Emitter(accelerator=self.accelerator)
        layers = self._emit(emitter)
        emitter.end()
        descriptors = assign_tokens(emitter.descriptors, emitter.needs)
        chunks = -(-len(descriptors) // CHUNK_DESCRIPTORS)
        program_address = self.layout.reserve(chunks * CHUNK_BYTES)
        self.layout.check(self.network.name)
        image = np.zeros(self.layout.size, np.uint8)
        for plan, data in zip(self.plans, self.layout.steps, strict=True):
            for tile in plan.tiles:
                self._put(image, data.weights[tile.index], weight_words(plan, tile))
                self._put(image, data.constants[tile.index], constant_words(plan, tile))
            if data.table is not None:
                self._put(image, data.table, table_words(plan))
        for root, code in self.arrangement.fills.items():
            if code:
                self._fill(image, root, code)
        return Program(
            network=self.network.name,
            accelerator=self.accelerator,
            descriptors=descriptors,
            layers=tuple(layers),
            placements=tuple(self.placements.values()),
            inputs=self.network.inputs,
            outputs=self.network.outputs,
            image=image,
            base_address=self.layout.base,
            program_address=program_address,
            samples=self.mapping.samples,
            kept=tuple(sorted(self.residency.kept | self.lowered.nowhere)),
            made=tuple(emitter.made),
        )

    def _put(self, image: np.ndarray, address: int, words: np.ndarray) -> None:
        start = address - self.layout.base
        image[start : start + words.size] = words.reshape(-1)

    def _fill(self, image: np.ndarray, root: str, code: int) -> None:
        tensor = self.lowered.tensors[root]
        for sample in range(self.mapping.samples):
            self.placements[root].of(sample).fill(image, code)
            if tensor.scaling is not None:
                # The largest scale, so that no value is lower.
                top = tensor.scaling.scale.encode(np.array(tensor.scaling.scale.top))
                self.placements[tensor.scales_name].of(sample).fill(image, int(top))

    # Steps

    def _emit(self, emitter: Emitter) -> list[CompiledLayer]:
        by_layer: dict[str, list[int]] = {}
        for number, plan in enumerate(self.plans):
            by_layer.setdefault(plan.step.layer, []).append(number)
        layers = []
        for index, op in enumerate(op for op in self.network.ops if op.name in by_layer):
            first = emitter.next
            for number in by_layer[op.name]:
                plan, data = self.plans[number], self._data(number)
                mapping = self.mapping.layer(plan.step.name)
                StepEmitter(emitter, plan, mapping, data).run()
                emitter.finish(data.target.root)
            emitter.stamp(self.layout.stamp(index))
            layers.append(
                CompiledLayer(
                    name=op.name,
                    outputs=tuple(
                        name
                        for number in by_layer[op.name]
                        for name in _written(self.plans[number])
                    ),
                    first=first,
                    stop=emitter.next,
                    stamp=self.layout.stamp(index),
                    products=self.mapping.samples * self.network.products(op),
                )
            )
        return layers

    def _data(self, number: int) -> StepData:
        addresses, stays = self.layout.steps[number], self.residency.stays
        return StepData(
            source=addresses.source,
            target=addresses.target,
            residual=addresses.residual,
            weights=addresses.weights,
            constants=addresses.constants,
            table=addresses.table,
            room=self.residency.rooms[number],
            resident=self.residents.get(number),
            readers=tuple(self.residents[s.reader] for s in stays if s.writer == number),
            stored=self.plans[number].step.output not in self.residency.kept,
        )

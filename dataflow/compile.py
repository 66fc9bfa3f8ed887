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

from dataclasses import replace

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import Arrangement, arrange
from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES
from celosia.dataflow.emit import Emitter, StepData
from celosia.dataflow.emit_step import StepEmitter
from celosia.dataflow.layout import PLAIN, Placement
from celosia.dataflow.lower import Step
from celosia.dataflow.mapper import map_steps
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.dataflow.packing import constant_words, weight_words
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.program import CompiledLayer, Program
from celosia.dataflow.residency import Residency, input_tiles, residency
from celosia.dataflow.resident import Place, ResidentInput
from celosia.dataflow.tokens import assign_tokens
from celosia.models.errors import CelosiaError
from celosia.models.formats import BlockScaling, Fixed
from celosia.models.network import Network, Tensor

BASE_ADDRESS = 0x1000_0000
_CHUNK = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES


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
        Loops of each step, and the samples of one start; the default one where there is none.
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
    _check_mapping(plans, mapping)
    return _Compiler(network, accelerator, arrangement, plans, mapping, base_address).program()


def _check_mapping(plans: list[StepPlan], mapping: Mapping) -> None:
    names = {plan.step.name for plan in plans}
    for name, _ in mapping.layers:
        if name not in names:
            raise CelosiaError(f"mapping of layer {name!r}: the network has no such layer")
    mapped = dict(mapping.layers)
    for plan in plans:
        if plan.step.name not in mapped:
            raise CelosiaError(f"mapping: layer {plan.step.name!r} is missing")
        plan.check(mapped[plan.step.name])


def _written(tensor: Tensor) -> tuple[str, ...]:
    """Return the names under which ``tensor`` is compared."""
    return (tensor.name,) if tensor.scaling is None else (tensor.name, tensor.scales_name)


class _Memory:
    """Addresses handed out from ``base`` on, and what is written there."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.end = base
        self._pieces: list[tuple[int, np.ndarray]] = []

    def reserve(self, size: int) -> int:
        """Return the address of ``size`` bytes: page-aligned where large."""
        alignment = PAGE_BYTES if size >= PAGE_BYTES else _CHUNK
        address = -(-self.end // alignment) * alignment
        self.end = address + size
        return address

    def put(self, data: np.ndarray) -> int:
        """Return the address at which ``data`` (uint8) will lie."""
        address = self.reserve(data.size)
        self._pieces.append((address, data.reshape(-1)))
        return address

    def image(self) -> np.ndarray:
        """Return the bytes, whole pages."""
        self.end = -(-self.end // PAGE_BYTES) * PAGE_BYTES
        image = np.zeros(self.end - self.base, np.uint8)
        for address, data in self._pieces:
            image[address - self.base : address - self.base + data.size] = data
        return image


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
        self.memory = _Memory(base_address)
        self.placements: dict[str, Placement] = {}
        self.residency: Residency = residency(plans, mapping, self.lowered)
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
        self._place_tensors()
        emitter = Emitter(accelerator=self.accelerator)
        layers = self._emit(emitter)
        emitter.end()
        descriptors = assign_tokens(emitter.descriptors, emitter.needs)
        chunks = -(-len(descriptors) // CHUNK_DESCRIPTORS)
        program_address = self.memory.reserve(chunks * _CHUNK)
        image = self.memory.image()
        self._check_addresses()
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
            base_address=self.memory.base,
            program_address=program_address,
            samples=self.mapping.samples,
            kept=tuple(sorted(self.residency.kept)),
        )

    def _fill(self, image: np.ndarray, root: str, code: int) -> None:
        tensor = self.lowered.tensors[root]
        for sample in range(self.mapping.samples):
            self.placements[root].of(sample).fill(image, code)
            if tensor.scaling is not None:
                # The largest scale, so that no value is lower.
                top = tensor.scaling.scale.encode(np.array(tensor.scaling.scale.top))
                self.placements[tensor.scales_name].of(sample).fill(image, int(top))

    def _check_addresses(self) -> None:
        bits = self.accelerator.bus.address_bits
        if self.memory.end > 1 << bits:
            raise CelosiaError(
                f"network {self.network.name!r} needs memory up to {self.memory.end:#x}, "
                f"accelerator {self.accelerator.name!r} has {bits} address bits: choose a lower "
                "base address or raise bus.address_bits"
            )

    # Tensors

    def _place_tensors(self) -> None:
        accelerator = self.accelerator
        word_bytes = accelerator.word_bytes(accelerator.activation_word_bits)
        for name in self.lowered.tensors:
            if self.lowered.root(name) == name:
                self._place_root(name, word_bytes)
        for name in self.lowered.tensors:
            root = self.lowered.root(name)
            if root != name:
                first = self.arrangement.first_word[name]
                whole = self.placements[root]
                address = whole.address + first * whole.plane
                self.placements[name] = self._placement(name, address, whole.sample_bytes)
        for name, tensor in self.lowered.tensors.items():
            if tensor.scaling is not None:
                self.placements[tensor.scales_name] = self._scales(name, tensor, tensor.scaling)

    def _scales(self, name: str, tensor: Tensor, scaling: BlockScaling) -> Placement:
        """Return where the scales of ``tensor`` lie: behind its lanes, in the same words."""
        array = self.accelerator.array
        first = self.arrangement.positions[name][:: scaling.vector]
        return replace(
            self.placements[name],
            name=tensor.scales_name,
            shape=tensor.scales_shape,
            format=Fixed(bits=scaling.scale.bits, signed=False),
            words=first // array.lanes,
            lanes=first % array.lanes // scaling.vector,
            lane_bits=scaling.scale.bits,
            first_bit=array.lanes * array.activation_bits,
        )

    def _place_root(self, name: str, word_bytes: int) -> None:
        _, height, width = self.lowered.tensors[name].shape
        top, left, bottom, right = self.arrangement.borders[name]
        pitch = (width + left + right) * word_bytes
        plane = (height + top + bottom) * pitch
        size = self.arrangement.word_count[name] * plane
        start = self.memory.reserve(self.mapping.samples * size)
        address = start + top * pitch + left * word_bytes
        self.placements[name] = self._placement(name, address, size)

    def _placement(self, name: str, address: int, sample_bytes: int) -> Placement:
        tensor, lanes = self.lowered.tensors[name], self.accelerator.array.lanes
        word_bytes = self.accelerator.word_bytes(self.accelerator.activation_word_bits)
        border = self.arrangement.borders[self.lowered.root(name)]
        pitch = (tensor.shape[2] + border[1] + border[3]) * word_bytes
        positions = self.arrangement.positions[name]
        return Placement(
            name=name,
            shape=tensor.shape,
            format=tensor.format,
            address=address,
            base=self.memory.base,
            word_bytes=word_bytes,
            pitch=pitch,
            plane=(tensor.shape[1] + border[0] + border[2]) * pitch,
            border=border,
            words=positions // lanes,
            lanes=positions % lanes,
            lane_bits=self.accelerator.array.activation_bits,
            unfold=self.lowered.unfolds.get(name, PLAIN),
            sample_bytes=sample_bytes,
        )

    def _place(self, name: str) -> Place:
        return Place(
            placement=self.placements[name],
            root=self.lowered.root(name),
            word=self.arrangement.first_word[name],
        )

    # Steps

    def _emit(self, emitter: Emitter) -> list[CompiledLayer]:
        by_layer: dict[str, list[StepPlan]] = {}
        for plan in self.plans:
            by_layer.setdefault(plan.step.layer, []).append(plan)
        beat = self.accelerator.bus.data_bytes
        stamps = self.memory.reserve(len(by_layer) * beat)
        layers = []
        for index, op in enumerate(op for op in self.network.ops if op.name in by_layer):
            first = emitter.next
            for plan in by_layer[op.name]:
                data = self._data(plan)
                mapping = self.mapping.layer(plan.step.name)
                StepEmitter(emitter, plan, mapping, data).run()
                emitter.finish(data.target.root)
            emitter.stamp(stamps + index * beat)
            layers.append(
                CompiledLayer(
                    name=op.name,
                    outputs=tuple(
                        name for plan in by_layer[op.name] for name in _written(plan.target)
                    ),
                    first=first,
                    stop=emitter.next,
                    stamp=stamps + index * beat,
                    products=self.mapping.samples * self.network.products(op),
                )
            )
        return layers

    def _data(self, plan: StepPlan) -> StepData:
        step: Step = plan.step
        number = self.plans.index(plan)
        stays = self.residency.stays
        return StepData(
            source=self._place(step.input),
            target=self._place(step.output),
            residual=None if step.residual is None else self._place(step.residual),
            weights=self._put(plan, [weight_words(plan, tile) for tile in plan.tiles]),
            constants=self._put(plan, [constant_words(plan, tile) for tile in plan.tiles]),
            room=self.residency.rooms[number],
            resident=self.residents.get(number),
            readers=tuple(self.residents[s.reader] for s in stays if s.writer == number),
            stored=step.output not in self.residency.kept,
        )

    def _put(self, plan: StepPlan, words: list[np.ndarray]) -> dict[int, int]:
        """Put the tiles' words one after another; return each tile's address by its index."""
        address = self.memory.put(np.concatenate(words))
        addresses = {}
        for tile, data in zip(plan.tiles, words, strict=True):
            addresses[tile.index] = address
            address += data.size
        return addresses

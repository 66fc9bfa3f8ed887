"""What a value was made of is all that it was made of: run alone, it makes the value again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator, Tables
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Keep, Load, Unit
from celosia.dataflow.interpret import Machine
from celosia.dataflow.kept import is_keep, kept_word
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Program
from celosia.dataflow.provenance import Memory, Provenance, provenance
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.models.golden import evaluate
from celosia.models.random_network import random_network, with_tables

from .builders import ACCELERATORS, FORMATS, filled

PLAIN = ACCELERATORS["2x4x1"]
KEEPING = replace(
    ACCELERATORS["24x12x3"],
    buffers=replace(ACCELERATORS["24x12x3"].buffers, activations=512, activation_banks=2),
)
SCALED = preset("small_mxfp4")
LOOKING = replace(PLAIN, tables=Tables(index_bits=5, count=2))


def origin(
    program: Program, tensor: str, where: tuple[int, int, int], known: Iterable[str] = ()
) -> Provenance:
    """Return what the code at ``where`` of ``tensor`` was made of, of ``known`` tensors if any."""
    place, (c, y, x) = program.placement(tensor), where
    address = place.at(0) + int(place.words[c]) * place.plane + y * place.pitch
    copies = {other.name for other in program.placements if known and other.name not in known}
    return provenance(program, address + x * place.word_bytes, int(place.lanes[c]), copies)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "target", [PLAIN, KEEPING, SCALED, LOOKING], ids=["plain", "keeping", "scaled", "looking"]
)
def test_it_makes_the_value_again(target: Accelerator, seed: int) -> None:
    array = target.array
    formats = FORMATS if array.scaling is None else tuple(g.format for g in array.columns)
    network = random_network(seed, formats, scaling=array.scaling, elements=array.elements)
    if target.tables is not None:
        network = with_tables(network, seed, target.tables.index_bits)
    rng = np.random.default_rng(seed)
    mapping = random_network_mapping(network, target, rng)
    program = compile_network(network, target, replace(mapping, samples=1))
    inputs = {}
    for name in network.inputs:
        tensor = network.tensor(name)
        inputs[name] = rng.integers(tensor.format.low, tensor.format.high + 1, (1, *tensor.shape))
    golden = evaluate(network, inputs)
    image = filled(program, inputs)
    tensors = [layer.outputs[-1] for layer in program.layers]
    for name in [name for name in tensors if name not in program.kept][-2:]:
        # Everything in memory is as it must be, but for the tensor that is asked for.
        ready = image.copy()
        for place in program.placements:
            if place.name in golden and place.name not in program.kept:
                if place.name not in (name, f"{name}/scales"):
                    place.write(ready, golden[place.name][0])
        where = tuple(int(rng.integers(n)) for n in golden[name].shape[1:])
        found = origin(program, name, where, golden)
        machine = Machine(program, ready, np.random.default_rng(seed))
        machine.buffers.weights[:] = 0
        for index in found.descriptors:
            machine.execute(program.descriptors[index])
            for write in found.writes:
                word = kept_word(program, write, golden, 0) if is_keep(write) else None
                if write.descriptor == index and word is not None:
                    word.put(machine.buffers, write)
        got = int(program.placement(name).read(machine.image)[where])
        assert got == int(golden[name][0][where]), f"seed {seed}: {name} {where}"
        assert found.writes[-1].unit is Unit.STORE
        assert found.writes[-1].place.memory is Memory.DRAM
        assert found.post is not None
        assert len(found.operands) > 0
        kept = [
            index for index in found.descriptors if isinstance(program.descriptors[index], Keep)
        ]
        for step in found.operands:
            # What no load brought was kept on chip.
            assert step.activation_address is not None or kept
        # No load is left out, and none is needed without a reader.
        read = {place for write in found.writes for place in write.sources}
        for write in found.writes:
            if isinstance(program.descriptors[write.descriptor], Load):
                assert write.place in read


def test_nothing_wrote_an_input() -> None:
    program = compile_network(random_network(1, FORMATS), PLAIN)
    found = origin(program, program.inputs[0], (0, 0, 0))
    assert found == Provenance(writes=(), operands=())
    assert found.descriptors == ()

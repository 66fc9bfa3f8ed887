from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import arrange
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Buffer, Descriptor, End, Keep, Load, Store, Token
from celosia.dataflow.event_walk import walk
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.mapping import Buffering, Dimension, Mapping, tiled
from celosia.dataflow.memory import PRESETS, MemoryModel
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.residency import Residency, residency
from celosia.models.errors import CelosiaError
from celosia.models.network import Network, Window
from celosia.models.random_network import random_network

from .builders import ACCELERATORS, FORMATS, Build, accelerator, check, k, same

LOAD_STORE = Token.LOAD_STORE


def keeping(target: Accelerator, activations: int = 512) -> Accelerator:
    """Return ``target`` with two banks of activations."""
    buffers = replace(target.buffers, activation_banks=2, activations=activations)
    return replace(target, buffers=buffers)


KEEPING = keeping(accelerator({"fixed8": 4}, 4, 2, post_lanes=4))


def chain(*windows: Window, residual: bool = False) -> Network:
    build = Build()
    first = build.input((8, 9, 7))
    x = first
    for window in windows:
        x = build.conv(x, 8, window, residual=x if residual else None)
    return build.network()


def resident(network: Network, target: Accelerator, *names: str, samples: int = 1) -> Mapping:
    """Return the default mapping with the inputs of ``names`` on chip, in one tile each."""
    mapping = replace(default_mapping(network, target), samples=samples)
    for name in names:
        mapping = mapping.replaced(name, replace(tiled(((Dimension.K, 1),)), resident=True))
    return mapping


def planned(network: Network, target: Accelerator, mapping: Mapping) -> Residency:
    arrangement = arrange(network, target)
    steps = arrangement.lowered.steps
    plans = [StepPlan(step, arrangement, target, mapping.samples) for step in steps]
    layers = [mapping.layer(plan.step.name) for plan in plans]
    return residency(plans, layers, arrangement.lowered)


def test_an_output_that_stays_is_neither_stored_nor_loaded() -> None:
    network = chain(same(3), same(3), k(3, stride=(2, 2)))
    mapping = resident(network, KEEPING, "op1", "op2")
    program = check(network, KEEPING, mapping)
    assert program.kept == ("top0", "top1")
    assert [layer.outputs for layer in program.layers] == [("top0",), ("top1",), ("top2",)]
    stores = [d for d in program.descriptors if isinstance(d, Store)]
    place = program.placement("top2")
    assert {d.transfer.address >= place.address for d in stores} == {True}
    kept = [d for d in program.descriptors if isinstance(d, Keep)]
    # Two words of 9 x 7; bands of 5 rows and 1 more above and below, then of 2 x 2 + 1 rows.
    words = [d.transfer.words * d.transfer.n1 * d.transfer.n2 for d in kept]
    assert sum(words) == 2 * 7 * ((6 + 5) + (5 + 5))
    border = [
        d
        for layer in program.layers[1:]
        for d in program.descriptors[layer.first : layer.stop]
        if isinstance(d, Load) and d.target is Buffer.ACTIVATIONS
    ]
    assert border == []


def test_two_readers_of_one_output() -> None:
    build = Build()
    first = build.conv(build.input((8, 6, 6)), 8, same(3))
    left = build.conv(first, 8, k(1))
    build.conv(first, 8, same(3), residual=left)
    network, target = build.network(), keeping(KEEPING, 1024)
    one = check(network, target, resident(network, target, "op1"))
    assert one.kept == ()
    both = check(network, target, resident(network, target, "op1", "op2"))
    assert both.kept == ("top0",)


def test_residual_operands_are_also_stored() -> None:
    network = chain(same(3), same(3), residual=True)
    program = check(network, KEEPING, resident(network, KEEPING, "op1"))
    assert program.kept == ()
    assert any(isinstance(d, Keep) for d in program.descriptors)


def test_inputs_lie_side_by_side_in_one_bank_and_then_in_the_other() -> None:
    network = chain(same(3), k(1), k(1), same(3))
    found = planned(network, KEEPING, resident(network, KEEPING, "op1", "op2", "op3"))
    # Bands of 5 rows in two words: 70 words, with a border 2 x 7 x 9.
    assert [(s.writer, s.reader, s.room.start, s.room.words) for s in found.stays] == [
        (0, 1, 0, 70), (1, 2, 70, 70), (2, 3, 256, 126),
    ]  # fmt: skip
    assert [room.start for room in found.rooms] == [256, 0, 70, 256]
    assert found.kept == {"top0", "top1", "top2"}


def test_an_input_that_fits_no_bank_lies_across_both() -> None:
    wide = Window(kernel=(3, 5), padding=(1, 2, 1, 2))
    network, target = chain(same(3), k(1), wide), keeping(KEEPING, 256)
    mapping = resident(network, target, "op1", "op2")
    stays = planned(network, target, mapping).stays
    assert [(s.room.start, s.room.words) for s in stays] == [(0, 70), (70, 2 * 7 * 11)]
    check(network, target, mapping)


@pytest.mark.parametrize("name", ["2x4x1", "8x8x1", "16x16x2"])
@pytest.mark.parametrize("seed", range(6))
def test_random_residency_is_exact(seed: int, name: str) -> None:
    random = np.random.default_rng(seed)
    target = ACCELERATORS[name]
    target = keeping(target, target.buffers.activations)
    network = random_network(seed, FORMATS)
    mapping = random_network_mapping(network, target, random, 1 + seed % 2)
    check(network, target, mapping, seeds=(None, seed))


def test_random_mappings_hold_resident_layers() -> None:
    target = keeping(ACCELERATORS["8x8x1"], 2048)
    found = 0
    for seed in range(6):
        network = random_network(seed, FORMATS)
        mapping = random_network_mapping(network, target, np.random.default_rng(seed))
        found += sum(layer.resident for _, layer in mapping.layers)
    assert found > 5


def test_one_bank_wrong() -> None:
    target = replace(KEEPING, buffers=replace(KEEPING.buffers, activation_banks=1))
    network = chain(k(1), k(1))
    with pytest.raises(
        CelosiaError, match=r"layer 'op1': its input cannot stay on chip: .* has on"
    ):
        compile_network(network, target, resident(network, target, "op1"))


def test_an_input_of_the_network_wrong() -> None:
    network = chain(k(1))
    with pytest.raises(CelosiaError, match="layer 'op0': its input 'in0' cannot stay on chip: no"):
        compile_network(network, KEEPING, resident(network, KEEPING, "op0"))


def test_an_input_across_both_banks_leaves_none_to_load_into_wrong() -> None:
    network, target = chain(same(3), k(1)), keeping(KEEPING, 128)
    with pytest.raises(
        CelosiaError,
        match=r"layer 'op0': one tile needs 48 words of one bank of the activations buffer, of "
        r"which 0 are free in a row beside what stays on chip: 48 are missing",
    ):
        compile_network(network, target, resident(network, target, "op1"))


def test_both_banks_taken_wrong() -> None:
    build = Build()
    first = build.conv(build.input((8, 9, 7)), 8, k(1))
    second = build.conv(first, 8, same(3))
    build.conv(second, 8, same(3))
    build.conv(first, 8, same(3))
    network, target = build.network(), keeping(KEEPING, 256)
    compile_network(network, target, resident(network, target, "op1", "op2"))
    with pytest.raises(CelosiaError, match=r"layer 'op2': one tile needs 126 .* 2 are free"):
        compile_network(network, target, resident(network, target, "op1", "op2", "op3"))


def test_other_layers_get_the_other_bank_wrong() -> None:
    network, target = chain(same(3), same(3)), keeping(KEEPING, 256)
    mapping = resident(network, target, "op1")
    buffering = Buffering(activations=2)
    wide = tiled(((Dimension.OY, 3), (Dimension.K, 1)), buffering=buffering)
    with pytest.raises(CelosiaError, match=r"layer 'op0': 2 tiles need 180 words .* 128 are free"):
        compile_network(network, target, mapping.replaced("op0", wide))


def overlaps(target: Accelerator, descriptors: tuple[Descriptor, ...], memory: MemoryModel) -> bool:
    """Whether some load of activations is at work while a keep writes the same bank."""
    found = walk(target, descriptors, 0x1000_0000, memory)
    half = target.buffers.activations // 2
    spans: dict[type, list[tuple[int, int, int]]] = {Load: [], Keep: []}
    for index, descriptor in enumerate(descriptors):
        span = int(found.accepted[index]), int(found.signalled[index])
        if isinstance(descriptor, Load) and descriptor.target is Buffer.ACTIVATIONS:
            moved = descriptor.transfer
            last = moved.buffer_address + moved.words - 1
            last += (moved.n1 - 1) * moved.d1 + (moved.n2 - 1) * moved.d2
            for bank in {moved.buffer_address // half, last // half}:
                spans[Load].append((bank, *span))
        elif isinstance(descriptor, Keep):
            spans[Keep].append((descriptor.transfer.address // half, *span))
    return any(
        a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a in spans[Load] for b in spans[Keep]
    )


def test_loads_and_keeps_of_a_bank_never_overlap() -> None:
    tight, needed = keeping(ACCELERATORS["8x8x1"], 512), False
    for seed in range(8):
        network, random = random_network(seed, FORMATS), np.random.default_rng(seed)
        mapping = random_network_mapping(network, tight, random)
        descriptors = compile_network(network, tight, mapping).descriptors
        bare = tuple(
            d
            if isinstance(d, End)
            else replace(d, wait=d.wait - {LOAD_STORE}, signal=d.signal - {LOAD_STORE})
            for d in descriptors
        )
        for memory in PRESETS.values():
            assert not overlaps(tight, descriptors, memory), seed
            needed |= overlaps(tight, bare, memory)
    assert needed

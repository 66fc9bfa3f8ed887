"""Inputs that stay on chip: where in the activation buffer each lies, and for how long.

A step whose mapping is ``resident`` finds all its tiles of activations in the buffer: the step that
made its input wrote them there, side by side, in one bank or, where no bank has room, across both.
Until the step is over no other step loads activations into a bank that holds some: they go to the
other, or to both where nothing stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from celosia.dataflow.lower import Lowered
from celosia.dataflow.mapping import LayerMapping
from celosia.dataflow.nest import works
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.tiles import Chunk, PixelTile
from celosia.models.errors import CelosiaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Words of the activation buffer, from ``start`` on."""

    start: int
    words: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """The input of step ``reader`` (by number) stays in ``room`` from step ``writer`` on."""

    writer: int
    reader: int
    room: Room


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """What stays on chip.

    ``rooms`` holds for each step where its tiles of activations lie, ``stays`` what is kept, and
    ``kept`` the tensors that are nowhere else: nobody reads them from memory.
    """

    rooms: tuple[Room, ...]
    stays: tuple[Stay, ...]
    kept: frozenset[str]


TileCount = Callable[[int], int]
"""How many tiles of activations the step of a number reads."""


def input_tiles(plan: StepPlan, mapping: LayerMapping) -> tuple[tuple[PixelTile, Chunk], ...]:
    """Return the distinct tiles of activations that a step reads, in order of their first use."""
    return tuple(dict.fromkeys((work.pixel, work.chunk) for work in works(plan, mapping)))


def residency(
    plans: Sequence[StepPlan],
    layers: Sequence[LayerMapping],
    lowered: Lowered,
    count: TileCount | None = None,
) -> Residency:
    """Return what stays on chip when the steps are mapped by ``layers``.

    ``count`` tells how many tiles of activations a step reads; by default they are counted.

    Raises
    ------
    CelosiaError
        If the accelerator keeps nothing, an input was not made by one step, or tiles do not fit
        beside what stays: names the layer, the limit and by how much.
    """
    count = count or (lambda number: len(input_tiles(plans[number], layers[number])))
    writers = {plan.step.output: number for number, plan in enumerate(plans)}
    edges = []
    for reader, (plan, layer) in enumerate(zip(plans, layers, strict=True)):
        if layer.resident:
            _check_reader(plan, writers)
            edges.append((writers[plan.step.input], reader))
    stays: list[Stay] = []
    for writer, reader in sorted(edges):
        alive = [stay for stay in stays if stay.writer <= reader and writer <= stay.reader]
        taken = [stay.room for stay in alive]
        room = _place(plans[reader], layers[reader], count(reader), taken)
        stays.append(Stay(writer=writer, reader=reader, room=room))
    resident = [layer.resident for layer in layers]
    kept = frozenset(
        plans[writer].step.output
        for writer, _ in edges
        if not _is_read(plans[writer].step.output, plans, resident, lowered)
    )
    rooms = tuple(
        _room(number, plan, layer, stays)
        for number, (plan, layer) in enumerate(zip(plans, layers, strict=True))
    )
    return Residency(rooms=rooms, stays=tuple(stays), kept=kept)


def _place(plan: StepPlan, layer: LayerMapping, count: int, taken: list[Room]) -> Room:
    """Return the first room in a bank, or in both, for all tiles of a resident input.

    ``taken`` is what lies beside it.
    """
    depth = plan.accelerator.buffers.activations
    half, words = depth // 2, count * plan.sizes(layer)["activations"]
    most = 0
    for low, high in ((0, half), (half, depth), (0, depth)):
        start = low
        for room in sorted((*taken, Room(start=high, words=0)), key=lambda room: room.start):
            free = min(room.start, high) - start
            if free >= words:
                return Room(start=start, words=words)
            most = max(most, free)
            start = max(start, room.start + room.words)
    raise _missing(plan, count, words, most)


def _missing(plan: StepPlan, count: int, words: int, free: int, of: str = "") -> CelosiaError:
    what = "one tile needs" if count == 1 else f"{count} tiles need"
    return CelosiaError(
        f"layer {plan.step.name!r}: {what} {words} words of {of}the activations buffer, of which "
        f"{free} are free in a row beside what stays on chip: {words - free} are missing; raise "
        "buffers.activations, use a smaller tile, or let fewer layers be resident"
    )


def _check_reader(plan: StepPlan, writers: dict[str, int]) -> None:
    where, accelerator = f"layer {plan.step.name!r}: its input", plan.accelerator
    if not accelerator.buffers.keeps:
        raise CelosiaError(
            f"{where} cannot stay on chip: accelerator {accelerator.name!r} has one bank of "
            "activations; set buffers.activation_banks to 2"
        )
    if plan.step.input not in writers:
        raise CelosiaError(
            f"{where} {plan.step.input!r} cannot stay on chip: no layer alone makes it (it is an "
            "input of the network or a concat)"
        )


def may_stay(plans: Sequence[StepPlan], number: int, lowered: Lowered) -> tuple[bool, bool]:
    """Return whether a step's input may stay on chip, and its output there alone, if they fit."""
    step = plans[number].step
    if not plans[number].accelerator.buffers.keeps:
        return False, False
    made = any(plan.step.output == step.input for plan in plans)
    used = any(plan.step.input == step.output for plan in plans)
    return made, used and not _is_read(step.output, plans, [True] * len(plans), lowered)


def _is_read(
    name: str, plans: Sequence[StepPlan], resident: Sequence[bool], lowered: Lowered
) -> bool:
    """Return whether tensor ``name`` is read from memory, by a layer or by the user."""
    if name in lowered.network.outputs or lowered.root(name) != name:
        return True
    return any(
        plan.step.residual == name or (plan.step.input == name and not stays)
        for plan, stays in zip(plans, resident, strict=True)
    )


def _room(number: int, plan: StepPlan, layer: LayerMapping, stays: list[Stay]) -> Room:
    """Return where a step's tiles of activations lie."""
    depth = plan.accelerator.buffers.activations
    for stay in stays:
        if stay.reader == number:
            return stay.room
    alive = [stay.room for stay in stays if stay.writer <= number <= stay.reader]
    if not alive:
        return Room(start=0, words=depth)
    half = depth // 2
    free = [
        start
        for start in (0, half)
        if not any(room.start < start + half and start < room.start + room.words for room in alive)
    ]
    count = layer.buffering.activations or 1
    words = count * plan.sizes(layer)["activations"]
    if not free or words > half:
        raise _missing(plan, count, words, half if free else 0, "one bank of ")
    return Room(start=free[0], words=half)

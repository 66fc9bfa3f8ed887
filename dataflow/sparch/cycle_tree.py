"""The merge tree of a SpArch engine, cycle by cycle. In machine code."""

from __future__ import annotations

from celosia.dataflow.jit import lean
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_state import Machine, Params, Reg

NO_NODE = 0
"""Instead of a node: none is served."""

_MINUS_ZERO = -(1 << 31)
"""The code of a float -0, as a number."""


PUT_LATENCY = 6
"""Cycles from that in which a node is served to that in which its word is put."""

_SEEN_LATENCY = 2
"""Cycles from then to the one in which it is found whether an element waits."""


@lean
def _choose(machine: Machine, p: Params, layer: int) -> int:
    """Return the first ready node of ``layer`` after the one chosen last."""
    base, level, closed = 1 << layer, machine.told, machine.closed
    for step in range(base):
        node = base + (machine.after[layer] + step) % base
        under = machine.chosen[layer] == node or machine.looked[layer] == node
        if not (machine.wide[node] or (machine.tight[node] and not under)):
            continue
        one, other = 2 * node, 2 * node + 1
        some, also = level[one] != 0, level[other] != 0
        if (machine.seen[node] and also) or (some and (also or closed[other])):
            return int(node)
        if also and closed[one]:
            return int(node)
    return NO_NODE


@lean
def _land(machine: Machine, layer: int, place: int) -> None:
    """Put what was taken ``PUT_LATENCY`` cycles before into the queue behind its node."""
    node = machine.stage_node[layer, place]
    if node == NO_NODE:
        return
    machine.coming[node] -= 1
    size = machine.ring_keys.shape[1]
    for element in range(machine.stage_count[layer, place]):
        to = (machine.head[node] + machine.level[node] + element) % size
        machine.ring_keys[node, to] = machine.stage_keys[layer, place, element]
        machine.ring_numbers[node, to] = machine.stage_numbers[layer, place, element]
    machine.put[node] += machine.stage_count[layer, place]


@lean
def _sum(machine: Machine, p: Params, one: int, other: int) -> int:
    """Return the sum of two numbers."""
    if not p.floating:
        return one + other
    machine.codes[0], machine.codes[1] = one, other
    machine.floats[2] = machine.floats[0] + machine.floats[1]
    return int(machine.codes[2])


@lean
def _serve(machine: Machine, p: Params, layer: int, place: int) -> None:
    """Take what is safe of both windows of the node read before, add pairs, drop zeros."""
    node = machine.read[layer]
    one, other = 2 * node, 2 * node + 1
    size = machine.ring_keys.shape[1]
    keys, numbers = machine.ring_keys, machine.ring_numbers
    # What was put in the two cycles before came too late to be looked up.
    level_a, level_b = machine.level[one], machine.level[other]
    for step in range(2):
        level_a -= machine.fresh[step, one]
        level_b -= machine.fresh[step, other]
    shown_a, shown_b = min(p.width, level_a), min(p.width, level_b)
    ends_a = machine.was_closed[1, one] and shown_a == level_a
    ends_b = machine.was_closed[1, other] and shown_b == level_b
    pairs = bool(machine.waits[node])  # the element before waits for this one
    first, i, j, made, added = machine.held[node], 0, 0, 0, 0
    for _ in range(p.width):
        at_a, at_b = (machine.head[one] + i) % size, (machine.head[other] + j) % size
        has_a, has_b = i < shown_a, j < shown_b
        if has_a and not pairs and (keys[one, at_a] <= keys[other, at_b] if has_b else ends_b):
            key, number = keys[one, at_a], numbers[one, at_a]
            i += 1
            if has_b and key == keys[other, at_b]:
                pairs, first = True, number
                continue
        elif has_b and (pairs or has_a or ends_a):
            key, number = keys[other, at_b], numbers[other, at_b]
            j += 1
            if pairs:
                pairs, number, added = False, _sum(machine, p, int(first), int(number)), added + 1
        else:
            break
        if number != 0 and not (p.floating and number == _MINUS_ZERO):
            machine.stage_keys[layer, place, made] = key
            machine.stage_numbers[layer, place, made] = number
            made += 1
    machine.waits[node], machine.held[node] = pairs, first
    machine.took[one], machine.took[other] = i, j
    machine.stage_count[layer, place] = made
    machine.stage_waits[layer, place] = pairs
    machine.counters[SparchCounter.ADDITIONS] += added


@lean
def move_tree(machine: Machine, p: Params, cycle: int) -> None:
    """Let all layers do a cycle."""
    level, closed, place = machine.told, machine.closed, cycle % PUT_LATENCY
    for node in range(1, p.ways):
        one, other = 2 * node, 2 * node + 1
        ended = closed[one] and level[one] == 0 and closed[other] and level[other] == 0
        machine.will_close[node] = closed[node] or (ended and machine.coming[node] == 0)
    for layer in range(p.layers):
        for node in range(1 << layer, 2 << layer):
            machine.will_close[node] &= machine.chosen[layer] != node or closed[node]
        choice = _choose(machine, p, layer)
        for node in range(1 << layer, 2 << layer):
            held = machine.told[node] + machine.coming[node] * p.width
            machine.tight[node] = held <= p.node_fifo - p.width
            machine.wide[node] = held <= p.node_fifo - 3 * p.width
        found = (cycle - _SEEN_LATENCY) % PUT_LATENCY
        node = machine.stage_node[layer, found]
        if node != NO_NODE:
            machine.seen[node] = machine.stage_waits[layer, found]
        _land(machine, layer, place)
        node = machine.read[layer]
        machine.stage_node[layer, place] = node
        if node != NO_NODE:
            _serve(machine, p, layer, place)
        node = machine.chosen[layer]
        machine.coming[node] += node != NO_NODE
        machine.read[layer] = machine.looked[layer]
        machine.looked[layer] = node
        machine.chosen[layer] = choice
        if choice != NO_NODE:
            machine.after[layer] = (choice + 1) % (1 << layer)
    if machine.now[Reg.BEGIN]:
        machine.will_close[1 : p.ways] = False


@lean
def settle_tree(machine: Machine, p: Params) -> None:
    """Make what was put and taken in this cycle what the next one sees."""
    size = machine.ring_keys.shape[1]
    for row in range(1, 2 * p.ways):
        machine.told[row] = machine.level[row] + machine.put[row]
        machine.level[row] = machine.told[row] - machine.took[row]
        machine.head[row] = (machine.head[row] + machine.took[row]) % size
        machine.fresh[1, row] = machine.fresh[0, row]
        machine.fresh[0, row] = machine.put[row]
        machine.was_closed[1, row] = machine.was_closed[0, row]
        machine.was_closed[0, row] = machine.closed[row]
        machine.put[row] = machine.took[row] = 0
    machine.told[1] = machine.level[1]  # of the root's queue it is known as it is
    for node in range(1, p.ways):
        machine.closed[node] = machine.will_close[node]

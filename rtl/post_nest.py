"""The loop nest of the post unit."""

from __future__ import annotations

import functools
import operator
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.rtl.affine import WORD_BITS, NestStart
from celosia.rtl.descriptors import POST_COUNTS, PostLayout
from celosia.rtl.shared import Shared

ACCUMULATOR_LOOPS = ("window_x", "window_y", "out_x", "out_y")
OUTPUT_LOOPS = ("out_x", "out_y", "pixels")
GROUP_BITS = 8
"""Bits of a column group, a lane group or a pixel lane."""


def post_step_layout() -> data.StructLayout:
    """Return the layout of what the post unit does in one step.

    ``drain``, ``constant`` and ``output`` say whether (accumulator, pixel, group), the constant
    address and the output address are others than in the step before; ``first`` and ``last``
    enclose a window.
    """
    return data.StructLayout(
        {
            "drain": 1,
            "constant": 1,
            "output": 1,
            "first": 1,
            "last": 1,
            "accumulator": WORD_BITS,
            "pixel": GROUP_BITS,
            "group": GROUP_BITS,
            "constant_address": WORD_BITS,
            "output_address": WORD_BITS,
            "lane_group": GROUP_BITS,
        }
    )


class Loop:
    """What a loop does in the step after the one that there is, from registers.

    ``reached`` says that all loops inside it start again, ``advances`` that it is the one that
    goes on.
    """

    def __init__(self, name: str) -> None:
        self.reached = Signal(name=f"reached_{name}")
        self.advances = Signal(name=f"advance_{name}")


class PostNest(Shared):
    """Runs the nest of a :class:`~celosia.dataflow.descriptors.Post`, one step a cycle.

    A nest accepted in cycle t has its steps in cycles t+2 to t+1+N, and the next one can be
    accepted at t+N. Each loop keeps the address at which its current iteration began; advancing
    it starts all inner loops there. Which loop advances is decided a step before; what differs
    from the step before is found a cycle later, when both are in registers. Whenever ``i`` is ready
    its payload is taken, so that ``i.valid`` decides only whether there is a turn.

    Parameters
    ----------
    lane_groups : int
        Lane groups of an output word, at least 1.

    Members
    -------
    i : In(stream.Signature(PostLayout))
    turn : Out(1)
        There is a step in the next cycle.
    last : Out(1)
        It is the nest's last.
    step : Out(1)
        There is a step in this cycle, which ``o`` describes.
    o : Out(post_step_layout())
    """

    def __init__(self, *, lane_groups: int) -> None:
        if not 1 <= lane_groups <= 1 << GROUP_BITS:
            raise ValueError(f"lane_groups must be 1 to 256, not {lane_groups!r}")
        self._lane_groups = lane_groups
        super().__init__(
            {
                "i": In(stream.Signature(PostLayout)),
                "turn": Out(1),
                "last": Out(1),
                "step": Out(1),
                "o": Out(post_step_layout()),
            },
            name="post_nest",
            parameters=(lane_groups,),
        )

    @property
    def lane_groups(self) -> int:
        return self._lane_groups

    def build(self) -> Module:
        m = Module()
        nest: Any = Signal(PostLayout, name="descriptor", reset_less=True)
        step: Any = Signal(post_step_layout(), name="soon")  # of the next cycle
        ended = Signal(name="all_ended")
        m.d.comb += [
            self.i.ready.eq(~self.turn | ended),
            self.last.eq(self.turn & ended),
        ]
        with m.If(self.i.ready):
            m.d.sync += self.turn.eq(self.i.valid)
        self._advance(m, nest, self._loops(m, nest, ended, step), step)
        with m.If(self.i.ready):
            m.d.sync += nest.eq(self.i.payload)
        self._start(m, step)
        m.d.sync += [
            self.step.eq(self.turn),
            self.o.eq(step),
            self.o.output.eq(step.output | (step.output_address != self.o.output_address)),
            self.o.drain.eq(step.drain | (step.accumulator != self.o.accumulator)),
        ]
        return m

    def _loops(self, m: Module, nest: Any, all_ended: Signal, step: Any) -> dict[str, Loop]:
        """Count all loops; return what each does in the next step.

        ``step.last`` tells whether those of the window have ended, ``all_ended`` whether all.
        """
        ready = self.i.ready
        ended = {name: Signal(name=f"ended_{name}") for name in POST_COUNTS}
        m.submodules.start = start = NestStart(loops=len(POST_COUNTS))
        once: dict[str, Value] = dict(zip(POST_COUNTS, start.once, strict=True))
        loops = {name: Loop(name) for name in POST_COUNTS}
        going: dict[str, Value] = {}
        for name, loop in loops.items():
            left = Signal(WORD_BITS, name=f"left_{name}", reset_less=True)
            count = self.i.payload[name]
            kept, twice = Signal(name=f"once_{name}"), Signal(name=f"twice_{name}")
            soon = Signal(name=f"soon_{name}")  # one is left
            with m.If(ready):
                m.d.sync += [
                    left.eq(count - 1),
                    soon.eq(count == 2),
                    kept.eq(once[name]),
                    twice.eq(count == 2),
                ]
            with m.Elif(loop.reached):
                m.d.sync += [
                    left.eq(Mux(ended[name], nest[name] - 1, left - 1)),
                    soon.eq(Mux(ended[name], twice, left == 2)),
                ]
            going[name] = Mux(loop.reached, Mux(ended[name], kept, soon), ended[name])
        for n, (name, loop) in enumerate(loops.items()):
            inner = Cat(*list(going.values())[:n]).all()
            m.d.comb += start.counts[n].eq(self.i.payload[name])
            m.d.sync += [
                ended[name].eq(Mux(ready, once[name], going[name])),
                loop.reached.eq(Mux(ready, start.reached[n], inner)),
                loop.advances.eq(Mux(ready, start.advances[n], inner & ~going[name])),
            ]
        m.d.sync += [
            all_ended.eq(Mux(ready, start.ended, Cat(*going.values()).all())),
            step.last.eq(
                Mux(ready, *(flags["window_x"] & flags["window_y"] for flags in (once, going)))
            ),
        ]
        return loops

    def _advance(self, m: Module, nest: Any, loops: dict[str, Loop], step: Any) -> None:
        """Move all addresses to the next step's."""
        pixels, groups = loops["pixels"].advances, loops["groups"].advances
        self._nested(
            m,
            "accumulator",
            step.accumulator,
            [(loops[name], nest[f"acc_{name}"]) for name in ACCUMULATOR_LOOPS],
            [(pixels | groups, nest.accumulators)],
        )
        wrap = self._lane_group(m, groups, step)
        strides = (nest.out_out_x, nest.out_out_y, nest.out_pixel)
        self._nested(
            m,
            "output",
            step.output_address,
            [
                *((loops[name], by) for name, by in zip(OUTPUT_LOOPS, strides, strict=True)),
                (loops["groups"], Mux(wrap, nest.out_word, 0)),
            ],
            [],
        )
        with m.If(pixels):
            m.d.sync += step.pixel.eq(step.pixel + 1)
        with m.If(groups):
            m.d.sync += [
                step.pixel.eq(0),
                step.group.eq(step.group + 1),
                step.constant_address.eq(step.constant_address + 1),
            ]
        m.d.sync += [
            step.first.eq(step.last),
            step.constant.eq(groups),
            step.output.eq(0),
            step.drain.eq(pixels | groups),
        ]

    def _nested(
        self,
        m: Module,
        name: str,
        address: Any,
        loops: list[tuple[Loop, Any]],
        resets: list[tuple[Any, Any]],
    ) -> None:
        """Keep ``address`` and the bases of ``loops`` (loop, stride), innermost first.

        ``resets`` holds (when, first address).
        """
        bases = [
            Signal(WORD_BITS, name=f"{name}_base_{n}", reset_less=True) for n in range(len(loops))
        ]
        following = Signal(WORD_BITS, name=f"next_{name}")
        # At most one loop advances: no choice waits for another.
        moves = [(loop.advances, base, by) for base, (loop, by) in zip(bases, loops, strict=True)]
        moves += [(when, first, 0) for when, first in resets]
        chosen = [
            functools.reduce(operator.or_, (Mux(move[0], move[part], 0) for move in moves))
            for part in (1, 2)
        ]
        m.d.comb += following.eq(chosen[0] + chosen[1])
        with m.If(loops[0][0].reached):
            m.d.sync += address.eq(following)
        for base, (loop, _) in zip(bases, loops, strict=True):
            with m.If(loop.reached):
                m.d.sync += base.eq(following)
        first = self.i.payload[f"{name}s"]
        with m.If(self.i.ready):
            m.d.sync += [base.eq(first) for base in bases]

    def _lane_group(self, m: Module, advances: Signal, step: Any) -> Signal:
        """Count lane groups; return whether the step's is the last of a word."""
        wrap = Signal()
        top, first = self._lane_groups - 1, self.i.payload.lane_group
        with m.If(self.i.ready):
            m.d.sync += [step.lane_group.eq(first), wrap.eq(first == top)]
        with m.Elif(advances & wrap):
            m.d.sync += [step.lane_group.eq(0), wrap.eq(top == 0)]
        with m.Elif(advances):
            m.d.sync += [
                step.lane_group.eq(step.lane_group + 1),
                wrap.eq(step.lane_group == top - 1),
            ]
        return wrap

    def _start(self, m: Module, step: Any) -> None:
        """Take the first step's values from the descriptor; this overrides advancing."""
        first = self.i.payload
        with m.If(self.i.ready):
            m.d.sync += [
                step.drain.eq(1),
                step.constant.eq(1),
                step.output.eq(1),
                step.first.eq(1),
                step.accumulator.eq(first.accumulators),
                step.pixel.eq(0),
                step.group.eq(0),
                step.constant_address.eq(first.constants),
                step.output_address.eq(first.outputs),
            ]

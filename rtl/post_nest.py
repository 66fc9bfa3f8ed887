"""The loop nest of the post unit."""

from __future__ import annotations

import functools
import operator
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.rtl.affine import WORD_BITS
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


class PostNest(Shared):
    """Runs the nest of a :class:`~celosia.dataflow.descriptors.Post`, one step a cycle.

    A nest accepted in cycle t has its steps in cycles t+2 to t+1+N, and the next one can be
    accepted at t+N. Each loop keeps the address at which its current iteration began; advancing
    it starts all inner loops there. Which loop advances is decided a step before; what differs
    from the step before is found a cycle later, when both are in registers.

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
        nest: Any = Signal(PostLayout, name="descriptor")
        step: Any = Signal(post_step_layout(), name="soon")  # of the next cycle
        accept = Signal()
        m.d.comb += [
            self.i.ready.eq(~self.turn | self.last),
            accept.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.i.ready):
            m.d.sync += self.turn.eq(self.i.valid)
        advance = self._loops(m, nest, accept, step)
        self._advance(m, nest, advance, step)
        with m.If(accept):
            m.d.sync += nest.eq(self.i.payload)
        self._start(m, accept, step)
        m.d.sync += [
            self.step.eq(self.turn),
            self.o.eq(step),
            self.o.output.eq(step.output | (step.output_address != self.o.output_address)),
            self.o.drain.eq(
                step.drain | (step.accumulator != self.o.accumulator) | (step.pixel != self.o.pixel)
            ),
        ]
        return m

    def _loops(self, m: Module, nest: Any, accept: Signal, step: Any) -> dict[str, Signal]:
        """Count all loops; return which is the innermost that has not ended.

        ``step.last`` tells whether those of the window have, ``last`` whether all.
        """
        ended = {name: Signal(name=f"ended_{name}") for name in POST_COUNTS}
        advance = {name: Signal(name=f"advance_{name}") for name in POST_COUNTS}
        following = {name: Signal(name=f"following_{name}") for name in POST_COUNTS}
        inner: Any = Const(1)
        inner_following: Any = Const(1)
        for name in POST_COUNTS:
            left = Signal(WORD_BITS, name=f"left_{name}")
            once = Signal(name=f"once_{name}")
            with m.If(accept):
                count = self.i.payload[name]
                m.d.sync += [left.eq(count - 1), once.eq(count == 1)]
                m.d.comb += following[name].eq(count == 1)
            with m.Elif(inner):
                m.d.sync += left.eq(Mux(ended[name], nest[name] - 1, left - 1))
                m.d.comb += following[name].eq(Mux(ended[name], once, left == 1))
            with m.Else():
                m.d.comb += following[name].eq(ended[name])
            m.d.sync += [
                ended[name].eq(following[name]),
                advance[name].eq(inner_following & ~following[name]),
            ]
            inner, inner_following = inner & ended[name], inner_following & following[name]
        m.d.sync += [
            self.last.eq((accept | ~self.i.ready) & inner_following),
            step.last.eq(following["window_x"] & following["window_y"]),
        ]
        return advance

    def _advance(self, m: Module, nest: Any, advance: dict[str, Signal], step: Any) -> None:
        """Move all addresses to the next step's."""
        self._nested(
            m,
            "accumulator",
            step.accumulator,
            [(advance[name], nest[f"acc_{name}"]) for name in ACCUMULATOR_LOOPS],
            [(advance["pixels"] | advance["groups"], nest.accumulators)],
        )
        wrap = self._lane_group(m, advance, step)
        strides = (nest.out_out_x, nest.out_out_y, nest.out_pixel)
        self._nested(
            m,
            "output",
            step.output_address,
            [
                *(
                    (advance[name], stride)
                    for name, stride in zip(OUTPUT_LOOPS, strides, strict=True)
                ),
                (advance["groups"], Mux(wrap, nest.out_word, 0)),
            ],
            [],
        )
        pixel, group = Signal(GROUP_BITS), Signal(GROUP_BITS)
        m.d.comb += [pixel.eq(step.pixel), group.eq(step.group)]
        with m.If(advance["pixels"]):
            m.d.comb += pixel.eq(step.pixel + 1)
        with m.If(advance["groups"]):
            m.d.comb += [pixel.eq(0), group.eq(step.group + 1)]
            m.d.sync += step.constant_address.eq(step.constant_address + 1)
        m.d.sync += [
            step.first.eq(step.last),
            step.pixel.eq(pixel),
            step.group.eq(group),
            step.constant.eq(advance["groups"]),
            step.output.eq(0),
            step.drain.eq(advance["groups"]),
        ]

    def _nested(
        self,
        m: Module,
        name: str,
        address: Any,
        loops: list[tuple[Any, Any]],
        resets: list[tuple[Any, Any]],
    ) -> None:
        """Keep ``address`` and the bases of ``loops`` (advance, stride), innermost first.

        ``resets`` holds (when, first address).
        """
        bases = [Signal(WORD_BITS, name=f"{name}_base_{n}") for n in range(len(loops))]
        following = Signal(WORD_BITS, name=f"next_{name}")
        # At most one loop advances: no choice waits for another.
        moves = [(when, base, by) for base, (when, by) in zip(bases, loops, strict=True)]
        moves += [(when, first, 0) for when, first in resets]
        chosen = [
            functools.reduce(operator.or_, (Mux(move[0], move[part], 0) for move in moves))
            for part in (1, 2)
        ]
        m.d.comb += following.eq(chosen[0] + chosen[1])
        for level, register in [(0, address), *enumerate(bases)]:
            with m.If(Cat(move[0] for move in moves[level:]).any()):
                m.d.sync += register.eq(following)
        first = self.i.payload[f"{name}s"]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [base.eq(first) for base in bases]

    def _lane_group(self, m: Module, advance: dict[str, Signal], step: Any) -> Signal:
        """Count lane groups; return whether the step's is the last of a word."""
        following, wrap = Signal(GROUP_BITS, name="next_lane_group"), Signal()
        m.d.comb += following.eq(step.lane_group)
        with m.If(self.i.valid & self.i.ready):
            m.d.comb += following.eq(self.i.payload.lane_group)
        with m.Elif(advance["groups"]):
            m.d.comb += following.eq(Mux(wrap, 0, step.lane_group + 1))
        m.d.sync += [
            step.lane_group.eq(following),
            wrap.eq(following == self._lane_groups - 1),
        ]
        return wrap

    def _start(self, m: Module, accept: Signal, step: Any) -> None:
        """Take the first step's values from the descriptor; this overrides advancing."""
        first = self.i.payload
        with m.If(accept):
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

"""The loop nest of the post unit."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
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

    A nest accepted in cycle t has its steps in cycles t+1 to t+N, and the next one can be
    accepted at t+N. Each loop keeps the address at which its current iteration began; advancing
    it starts all inner loops there.

    Parameters
    ----------
    lane_groups : int
        Lane groups of an output word, at least 1.

    Members
    -------
    i : In(stream.Signature(PostLayout))
    step : Out(1)
        There is a step in this cycle; what follows describes it.
    last : Out(1)
        It is the nest's last.
    o : Out(post_step_layout())
    """

    def __init__(self, *, lane_groups: int) -> None:
        if not 1 <= lane_groups <= 1 << GROUP_BITS:
            raise ValueError(f"lane_groups must be 1 to 256, not {lane_groups!r}")
        self._lane_groups = lane_groups
        super().__init__(
            {
                "i": In(stream.Signature(PostLayout)),
                "step": Out(1),
                "last": Out(1),
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
        left = {name: Signal(WORD_BITS, name=f"left_{name}") for name in POST_COUNTS}
        ended = {name: Signal(name=f"ended_{name}") for name in POST_COUNTS}
        # advance[name]: this loop is the innermost that has not ended.
        advance = {name: Signal(name=f"advance_{name}") for name in POST_COUNTS}
        inner: Any = 1
        for name in POST_COUNTS:
            m.d.comb += [ended[name].eq(left[name] == 0), advance[name].eq(inner & ~ended[name])]
            with m.If(inner):
                restart = nest[name] - 1
                m.d.sync += left[name].eq(Mux(ended[name], restart, left[name] - 1))
            inner = inner & ended[name]
        accept = Signal()
        m.d.comb += [
            self.last.eq(self.step & inner),
            self.i.ready.eq(~self.step | self.last),
            accept.eq(self.i.valid & self.i.ready),
            self.o.last.eq(ended["window_x"] & ended["window_y"]),
        ]
        with m.If(self.i.ready):
            m.d.sync += self.step.eq(self.i.valid)
        self._advance(m, nest, advance)
        with m.If(accept):
            m.d.sync += nest.eq(self.i.payload)
            m.d.sync += [left[name].eq(self.i.payload[name] - 1) for name in POST_COUNTS]
        self._start(m, accept)
        return m

    def _advance(self, m: Module, nest: Any, advance: dict[str, Signal]) -> None:
        """Move all addresses to the next step's."""
        step = self.o
        accumulator = self._nested(
            m,
            "accumulator",
            step.accumulator,
            [(advance[name], nest[f"acc_{name}"]) for name in ACCUMULATOR_LOOPS],
            [(advance["pixels"] | advance["groups"], nest.accumulators)],
        )
        wrap = Signal()
        m.d.comb += wrap.eq(step.lane_group == self._lane_groups - 1)
        strides = (nest.out_out_x, nest.out_out_y, nest.out_pixel)
        output = self._nested(
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
            m.d.sync += [
                step.constant_address.eq(step.constant_address + 1),
                step.lane_group.eq(Mux(wrap, 0, step.lane_group + 1)),
            ]
        m.d.sync += [
            step.first.eq(step.last),
            step.pixel.eq(pixel),
            step.group.eq(group),
            step.constant.eq(advance["groups"]),
            step.output.eq(output != step.output_address),
            step.drain.eq(
                (accumulator != step.accumulator) | (pixel != step.pixel) | advance["groups"]
            ),
        ]

    def _nested(
        self,
        m: Module,
        name: str,
        address: Any,
        loops: list[tuple[Any, Any]],
        resets: list[tuple[Any, Any]],
    ) -> Signal:
        """Keep ``address`` and the bases of ``loops`` (advance, stride), innermost first.

        Returns the next address. ``resets`` holds (when, first address).
        """
        bases = [Signal(WORD_BITS, name=f"{name}_base_{n}") for n in range(len(loops))]
        following = Signal(WORD_BITS, name=f"next_{name}")
        m.d.comb += following.eq(address)
        for level, (advance, stride) in enumerate(loops):
            with m.If(advance):
                m.d.comb += following.eq(bases[level] + stride)
                m.d.sync += [base.eq(following) for base in bases[: level + 1]]
        for when, first in resets:
            with m.If(when):
                m.d.comb += following.eq(first)
                m.d.sync += [base.eq(following) for base in bases]
        m.d.sync += address.eq(following)
        first = self.i.payload[f"{name}s"]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [base.eq(first) for base in bases]
        return following

    def _start(self, m: Module, accept: Signal) -> None:
        """Take the first step's values from the descriptor; this overrides advancing."""
        first, step = self.i.payload, self.o
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
                step.lane_group.eq(first.lane_group),
            ]

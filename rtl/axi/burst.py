"""Cutting runs of beats into legal AXI4 bursts, and the check of a burst against a window."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.rtl.ports import BEATS_BITS
from celosia.rtl.shared import Shared


def run_layout(address_bits: int, beats_bits: int) -> data.StructLayout:
    """One run: ``beats`` consecutive beats from byte ``address``; ``last`` is passed on."""
    return data.StructLayout({"address": address_bits, "beats": beats_bits, "last": 1})


def tagged_burst_layout(address_bits: int) -> data.StructLayout:
    """One burst; ``last`` marks the last burst of a run whose ``last`` was set."""
    return data.StructLayout({"address": address_bits, "beats": BEATS_BITS, "last": 1})


def sum_of_three(m: Module, name: str, values: tuple[Value, Value, Value], bound: int) -> Signal:
    """Return the sum of unsigned ``values``, below ``bound``, by one carry chain."""
    first, second, third = (Signal(range(bound), name=f"{name}_{n}") for n in range(3))
    total = Signal(range(bound), name=name)
    m.d.comb += [
        *(term.eq(value) for term, value in zip((first, second, third), values, strict=True)),
        total.eq((first ^ second ^ third) + (((first & second) | (third & (first | second))) << 1)),
    ]
    return total


class BurstSplitter(Shared):
    """Cuts each run into bursts of at most ``burst_beats`` beats that never cross 4 KiB.

    A run taken in cycle t has its first burst offered in t+1. A burst taken in cycle u has the
    next one of its run offered in u+2; where it was the last of its run, a run that waits is
    taken in u+1 and its first burst offered in u+2. With ``prompt`` it is taken in u, if it waits
    then, and its first burst offered in u+1.

    Parameters
    ----------
    address_bits : int
        Width of addresses, at least 13.
    data_bits : int
        Width of a beat.
    burst_beats : int
        Longest burst, 1 to 256 beats and at most 4 KiB.
    run_bits : int
        Width of a run's number of beats.
    prompt : bool
        A run that waits is taken in the cycle in which the last burst of the one before is.

    Members
    -------
    i : In(stream.Signature(run_layout(address_bits, run_bits)))
        Runs: at least one beat, the address a multiple of the beat's bytes.
    o : Out(stream.Signature(tagged_burst_layout(address_bits)))
        Bursts, registered.

    Raises
    ------
    ValueError
        ``burst_beats`` is 0, above 256, or more than 4 KiB.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(
        self,
        *,
        address_bits: int,
        data_bits: int,
        burst_beats: int,
        run_bits: int,
        prompt: bool = False,
    ) -> None:
        if not 1 <= burst_beats <= min(256, PAGE_BYTES * 8 // data_bits):
            raise ValueError(
                f"burst_beats must be 1 to 256 and at most {PAGE_BYTES} bytes, not {burst_beats!r}"
                f" beats of {data_bits} bits"
            )
        self._beat_shift = (data_bits // 8).bit_length() - 1
        self._burst_beats = burst_beats
        self._address_bits = address_bits
        self._run_bits = run_bits
        self._prompt = prompt
        super().__init__(
            {
                "i": In(stream.Signature(run_layout(address_bits, run_bits))),
                "o": Out(stream.Signature(tagged_burst_layout(address_bits))),
            },
            name=f"burst_splitter_a{address_bits}_d{data_bits}_b{burst_beats}_r{run_bits}"
            + ("_prompt" if prompt else ""),
            parameters=(address_bits, data_bits, burst_beats, run_bits, prompt),
        )

    def build(self) -> Module:
        m = Module()
        rest: Any = Signal(run_layout(self._address_bits, self._run_bits), reset_less=True)
        more = Signal()  # rest holds beats that are in no burst yet
        run: Any = Signal.like(rest)
        loads = Signal()
        m.d.comb += [
            loads.eq(~self.o.valid | (self.o.ready & ~more) if self._prompt else ~self.o.valid),
            run.eq(Mux(more, rest, self.i.p)),
            self.i.ready.eq(loads & ~more),
        ]

        page_beats = PAGE_BYTES >> self._beat_shift
        offset = run.address[self._beat_shift : 12]
        to_page = Signal(range(page_beats + 1))
        cap = Signal(range(min(page_beats, self._burst_beats) + 1))
        fits = Signal()
        near = run.beats[: page_beats.bit_length()]  # all, where they are one burst
        # A page more than the offset of the run's last beat.
        behind = sum_of_three(m, "behind", (offset, near, Const(page_beats - 1)), 4 * page_beats)
        m.d.comb += [
            to_page.eq(page_beats - offset),
            cap.eq(Mux(offset > page_beats - self._burst_beats, to_page, self._burst_beats)),
            fits.eq((run.beats <= self._burst_beats) & (behind < 2 * page_beats)),
        ]
        left = Signal(self._run_bits)
        m.d.comb += left.eq(rest.beats - self.o.p.beats)
        # What is loaded means nothing where no run is offered: only ``valid`` and ``more`` wait.
        with m.If(loads):
            m.d.sync += [
                self.o.valid.eq(more | self.i.valid),
                self.o.p.address.eq(run.address),
                self.o.p.beats.eq(Mux(fits, run.beats, cap)),
                self.o.p.last.eq(run.last & fits),
                rest.eq(run),
                more.eq((more | self.i.valid) & ~fits),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += [
                self.o.valid.eq(0),
                rest.address.eq(self.o.p.address + (self.o.p.beats << self._beat_shift)),
                rest.beats.eq(left),
            ]
        return m


def inside_window(m: Module, name: str, burst: Any, window: Any, *, data_bits: int) -> Signal:
    """Return whether a burst that does not cross 4 KiB lies inside the window.

    Its address, its page, and what is left of the limit's page are compared beside each other, so
    that no carry chain comes before another.

    Parameters
    ----------
    m : Module
        Where the comparisons go.
    name : str
        Begins their names.
    burst : View
        A :func:`~celosia.rtl.ports.burst_layout`; the address is a multiple of the beat's bytes.
    window : Window
        The window.
    data_bits : int
        Width of a beat.
    """
    shift = (data_bits // 8).bit_length() - 1
    page, limit_page = burst.address[12:], window.limit[12:]
    # Beats before the burst and in it are at most those before the limit if their sum with the
    # complement of the last does not pass a page.
    page_beats = PAGE_BYTES >> shift
    beats = burst.beats[: page_beats.bit_length()]
    room = ~window.limit[shift:12]
    total = sum_of_three(m, f"{name}_total", (burst.address[shift:12], beats, room), 4 * page_beats)
    allowed = Signal(name=f"{name}_allowed")
    m.d.comb += allowed.eq(
        (burst.address >= window.base)
        & ((page < limit_page) | ((page <= limit_page) & (total < page_beats)))
    )
    return allowed

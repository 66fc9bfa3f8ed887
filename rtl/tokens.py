"""Tokens: how units wait for each other."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, Signature

from celosia.dataflow.descriptors import Unit
from celosia.dataflow.descriptors import tokens as tokens_of
from celosia.dataflow.microarchitecture import TOKEN_COUNTER_BITS, UNIT_QUEUE_DEPTH
from celosia.rtl.ports import TOKEN_BITS
from celosia.rtl.queue import Queue, RegisterQueue
from celosia.rtl.shared import Shared


class TokenRequest(Signature):
    """A gate asks for tokens.

    Members
    -------
    wait : Out(TOKEN_BITS)
        Mask of the tokens asked for.
    grant : In(1)
        All of them are there, in this cycle.
    take : Out(1)
        They are taken, in this cycle; only with ``grant``.
    """

    def __init__(self) -> None:
        super().__init__({"wait": Out(TOKEN_BITS), "grant": In(1), "take": Out(1)})


class Tokens(Shared):
    """The token counters, 8 bits each, all 0 after reset.

    A token signalled in cycle t is granted from t+1; one taken in t is gone in t+1. ``grant``
    depends on ``wait`` in the same cycle. Bits of tokens that the unit does not give or take
    are ignored.

    Parameters
    ----------
    keeps : bool
        Whether there are those that serve outputs that stay on chip.

    Members
    -------
    load, compute, post, store : In(TokenRequest())
        What the four gates ask for.
    load_signal, compute_signal, post_signal, store_signal : In(TOKEN_BITS)
        What the four units signal.
    """

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps
        names = [unit.name.lower() for unit in Unit]
        super().__init__(
            {name: In(TokenRequest()) for name in names}
            | {f"{name}_signal": In(TOKEN_BITS) for name in names},
            name="tokens",
            parameters=(keeps,),
        )

    def build(self) -> Module:
        m = Module()
        there: dict[Unit, list[Signal]] = {unit: [] for unit in Unit}
        for token in tokens_of(keeps=self._keeps):
            name = token.name.lower()
            request = getattr(self, token.taker.name.lower())
            signals = getattr(self, f"{token.giver.name.lower()}_signal")
            count = Signal(TOKEN_COUNTER_BITS, name=name)
            some = Signal(name=f"{name}_some")  # the counter is not 0
            given = Signal(name=f"{name}_given")
            taken = Signal(name=f"{name}_taken")
            met = Signal(name=f"{name}_met")
            m.d.comb += [
                given.eq(signals[token]),
                taken.eq(request.take & request.wait[token]),
                met.eq(~request.wait[token] | some),
            ]
            there[token.taker].append(met)
            with m.If(given & ~taken):
                m.d.sync += [count.eq(count + 1), some.eq(1)]
            with m.If(taken & ~given):
                m.d.sync += [count.eq(count - 1), some.eq(count != 1)]
        for unit, met_tokens in there.items():
            request = getattr(self, unit.name.lower())
            m.d.comb += request.grant.eq(Cat(met_tokens).all())
        return m


class TokenGate(Shared):
    """Lets a descriptor through only when the tokens it waits for are there, and takes them.

    No latency. A transfer on ``o`` is the unit's accept. What descriptors wait for comes beside
    them, so that it can come from registers.

    Parameters
    ----------
    layout : data.StructLayout
        Layout of the unit's descriptors; has a field ``wait``.

    Members
    -------
    i : In(stream.Signature(layout))
        Descriptors that wait.
    wait : In(TOKEN_BITS)
        For what the one on ``i`` does.
    o : Out(stream.Signature(layout))
        The same, valid when granted.
    tokens : Out(TokenRequest())
        To :class:`Tokens`.
    """

    i: stream.Interface
    wait: Signal
    o: stream.Interface
    tokens: Any

    def __init__(self, layout: data.StructLayout) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "wait": In(TOKEN_BITS),
                "o": Out(stream.Signature(layout)),
                "tokens": Out(TokenRequest()),
            },
            name=f"token_gate_w{layout.size}",
            parameters=(layout.size,),
        )

    def build(self) -> Module:
        m = Module()
        m.d.comb += [
            self.tokens.wait.eq(self.wait),
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & self.tokens.grant),
            self.i.ready.eq(self.o.ready & self.tokens.grant),
            self.tokens.take.eq(self.o.valid & self.o.ready),
        ]
        return m


class UnitQueue(Shared):
    """A unit's queue of 4 descriptors and the gate behind it.

    A descriptor taken in cycle t can be accepted by the unit from t+1.

    Parameters
    ----------
    layout : data.StructLayout
        Layout of the unit's descriptors.

    Members
    -------
    i : In(stream.Signature(layout))
        From the sequencer.
    o : Out(stream.Signature(layout))
        To the unit; a transfer is the unit's accept.
    tokens : Out(TokenRequest())
        To :class:`Tokens`.
    """

    i: stream.Interface
    o: stream.Interface
    tokens: Any

    def __init__(self, layout: data.StructLayout) -> None:
        self._layout = layout
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "o": Out(stream.Signature(layout)),
                "tokens": Out(TokenRequest()),
            },
            name=f"unit_queue_w{layout.size}",
            parameters=(layout.size,),
        )

    def build(self) -> Module:
        m = Module()
        m.submodules.queue = queue = Queue(self._layout, depth=UNIT_QUEUE_DEPTH)
        m.submodules.gate = gate = TokenGate(self._layout)
        m.submodules.waits = waits = RegisterQueue(TOKEN_BITS, depth=UNIT_QUEUE_DEPTH)
        m.d.comb += [
            # Filled and emptied with the other queue, so as full in every cycle.
            waits.i.payload.eq(self.i.p.wait),
            waits.i.valid.eq(self.i.valid),
            waits.o.ready.eq(gate.i.ready),
            gate.wait.eq(waits.o.payload),
        ]
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        wiring.connect(m, queue.o, gate.i)
        wiring.connect(m, gate.o, wiring.flipped(self.o))
        wiring.connect(m, gate.tokens, wiring.flipped(self.tokens))
        return m

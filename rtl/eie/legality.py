"""The check of an EIE descriptor before it is handed to a unit."""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import FUNCTIONS, OCCUPANCY_BITS, EieAccelerator
from celosia.dataflow.eie.descriptors import ALL_PES, FILE_SHIFT, Target
from celosia.rtl.axi.burst import sum_of_three
from celosia.rtl.descriptors import DESCRIPTOR_BITS
from celosia.rtl.eie.descriptors import (
    PLACE_BITS,
    CellLayout,
    LoadLayout,
    Opcode,
    RunLayout,
    StoreLayout,
)
from celosia.rtl.eie.memories import address_bits
from celosia.rtl.eie.multiples import TABLE, looked_up
from celosia.rtl.rules import Rule, address_rules, are_zero, check_rules, sum_fits
from celosia.rtl.shared import Shared
from celosia.rtl.tree import one_of


def target_beats(accelerator: EieAccelerator, target: Target) -> int:
    """Return the beats (of activations the words of one file) that memory ``target`` holds."""
    memories = accelerator.memories
    match target:
        case Target.ACTIVATIONS:
            return memories.activations
        case Target.POINTERS:
            return memories.pointers // accelerator.pointer_lanes
        case Target.ENTRIES:
            return memories.entries // memories.row_entries // accelerator.row_lanes
        case Target.BIASES:
            return memories.biases // accelerator.bias_lanes
        case Target.CODEBOOK:
            return memories.codebooks << 8 if accelerator.widths.codebook else 0
        case Target.OCCUPANCY:
            held = accelerator.occupancy_columns if accelerator.array.skip_empty else 0
            return held // accelerator.bus.data_bits
        case Target.TABLES:
            segments = 0 if accelerator.cell is None else accelerator.cell.segments
            return FUNCTIONS * segments // accelerator.function_lanes


class EieLegality(Shared):
    """Says whether a descriptor is legal. No latency.

    It is when its opcode is known, all bits above its layout are 0, addresses are multiples of a
    beat's bytes and within the port's width, and everything that it loads, reads or writes lies in
    the memories. Of a stamp all but the address is 0, of an end everything.

    Parameters
    ----------
    accelerator : EieAccelerator

    Members
    -------
    descriptor : In(512)
    legal : Out(1)
    """

    descriptor: Signal
    legal: Signal

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._accelerator = accelerator
        super().__init__(
            {"descriptor": In(DESCRIPTOR_BITS), "legal": Out(1)},
            name="eie_legality",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        rules: dict[Opcode, Rule] = {
            Opcode.LOAD: (LoadLayout, partial(self._load, m)),
            Opcode.RUN: (RunLayout, partial(self._run, m)),
            Opcode.STORE: (StoreLayout, partial(self._store, m)),
            Opcode.STAMP: (StoreLayout, self._stamp),
            Opcode.END: (StoreLayout, self._end),
        }
        if self._accelerator.cell is not None:
            rules[Opcode.CELL] = CellLayout, partial(self._cell, m)
        check_rules(m, self.descriptor, self.legal, rules)
        return m

    def _load(self, m: Module, p: Any) -> list[Value]:
        accelerator = self._accelerator
        place, is_word = Signal(PLACE_BITS), p.target == Target.ACTIVATIONS
        m.d.comb += place.eq(Mux(is_word, p.place[:FILE_SHIFT], p.place))
        # What is left of the range of a sum by a memory that holds so much.
        rest = ~one_of(
            (p.target == target for target in Target),
            (Const(target_beats(accelerator, target), PLACE_BITS) for target in Target),
        )
        end = sum_of_three(m, "load_end", (p.beats, place, rest), 4 << PLACE_BITS)
        return [
            end[PLACE_BITS:] == 0,
            p.beats != 0,
            ~is_word | (p.place[FILE_SHIFT + 1 :] == 0),
            (p.pe < accelerator.array.pes) | (p.pe == ALL_PES),
            *address_rules(self._accelerator.bus, p.address),
        ]

    def _run(self, m: Module, p: Any) -> list[Value]:
        accelerator, memories = self._accelerator, self._accelerator.memories
        windows = memories.activations // memories.window
        most = memories.codebooks if accelerator.widths.codebook else 1
        rules = [
            p.columns != 0,
            self._columns_fit(m, p.window[: address_bits(windows)], p.columns),
            p.window < windows,
            sum_fits(m, "pointers", p.pointers, p.columns, memories.pointers - 1),
            sum_fits(m, "entries", p.entries, p.size, memories.entries),
            p.entries[: (memories.row_entries - 1).bit_length()] == 0,
            p.codebook < most,
            p.rows != 0,
            p.rows <= memories.accumulators,
            p.last_pes <= accelerator.array.pes,
            sum_fits(m, "biases", p.biases, p.rows, memories.biases),
            sum_fits(m, "results", p.target, p.rows, memories.activations),
            p.low <= 0,
            p.high >= 0,
        ]
        if accelerator.array.skip_empty:
            rules += [
                p.occupancy[: (OCCUPANCY_BITS - 1).bit_length()] == 0,
                sum_fits(m, "occupancy", p.occupancy, p.columns, accelerator.occupancy_columns),
            ]
        return rules

    def _columns_fit(self, m: Module, window: Value, columns: Value) -> Value:
        """Return whether so many ``columns`` from a window on are at most a file's.

        Products of parts of the window's number are looked up, so that no sum comes after another.
        """
        step = self._accelerator.window_columns
        most = self._accelerator.memories.activations * self._accelerator.array.pes
        width = max(len(columns), most.bit_length() + 1)
        rest = (1 << width) - 1 - most  # of the range of the sum
        first = looked_up(window[:TABLE], step, rest, bits=width + 1)
        second = looked_up(window[TABLE:], step << TABLE, bits=width)
        return sum_of_three(m, "columns", (first, second, columns), 4 << width)[width:] == 0

    def _cell(self, m: Module, p: Any) -> list[Value]:
        most = self._accelerator.memories.activations
        return [
            p.rows != 0,
            sum_fits(m, "gates", p.gates, p.rows << 2, most),
            sum_fits(m, "cell", p.cell, p.rows, most),
            sum_fits(m, "outputs", p.target, p.rows, most),
            p.last_pes <= self._accelerator.array.pes,
            p.low <= 0,
            p.high >= 0,
        ]

    def _store(self, m: Module, p: Any) -> list[Value]:
        return [
            *are_zero(p.after),
            p.rows != 0,
            sum_fits(m, "stored", p.first, p.rows, self._accelerator.memories.activations),
            *address_rules(self._accelerator.bus, p.address),
        ]

    def _stamp(self, p: Any) -> list[Value]:
        return [
            *are_zero(p.after),
            p.rows == 0,
            p.first == 0,
            p.source == 0,
            *address_rules(self._accelerator.bus, p.address),
        ]

    def _end(self, p: Any) -> list[Value]:
        return are_zero(p.as_value()[4:])

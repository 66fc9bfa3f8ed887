"""Netlists of Yosys run on many vectors at once: each bit of a word is a vector of its own.

Reads what ``write_json`` writes of one flat module: simple gates (after ``simplemap``), or the
cells of UltraScale+ that synthesis leaves (look-up tables, carries, flip-flops).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Bits = list[np.ndarray]
"""Bit n of a number for each vector, packed: uint64 words."""

ONES = np.uint64(0xFFFF_FFFF_FFFF_FFFF)

GATES: Mapping[str, Callable[..., np.ndarray]] = {
    "$_NOT_": lambda a: ~a,
    "$_AND_": lambda a, b: a & b,
    "$_OR_": lambda a, b: a | b,
    "$_XOR_": lambda a, b: a ^ b,
    "$_MUX_": lambda a, b, s: (b & s) | (a & ~s),
    "INV": lambda a: ~a,
    "MUXF7": lambda a, b, s: (b & s) | (a & ~s),
    "MUXF8": lambda a, b, s: (b & s) | (a & ~s),
}
OUTPUTS = ("O", "CO", "O5", "O6", "Y")
INPUTS = {"INV": ("I",), "MUXF7": ("I0", "I1", "S"), "MUXF8": ("I0", "I1", "S")}


def pack(values: np.ndarray, width: int) -> Bits:
    """Return the bits of ``values``, one for each vector, 64 vectors to a word."""
    padded = np.zeros(-(-len(values) // 64) * 64, dtype=np.int64)
    padded[: len(values)] = values
    lanes = padded.reshape(-1, 64).astype(np.uint64)
    places = np.arange(64, dtype=np.uint64)
    return [
        np.bitwise_or.reduce(((lanes >> np.uint64(n)) & np.uint64(1)) << places, axis=1)
        for n in range(width)
    ]


def unpack(bits: Bits, count: int, *, signed: bool) -> np.ndarray:
    """Return the int64 number that ``bits`` hold for each of ``count`` vectors."""
    places = np.arange(64, dtype=np.uint64)
    total = np.zeros(len(bits[0]) * 64, dtype=np.int64)
    for n, word in enumerate(bits):
        one = ((word[:, None] >> places) & np.uint64(1)).astype(np.int64).ravel()
        total += -(one << n) if signed and n == len(bits) - 1 else one << n
    return total[:count]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its type, the wires of each port, and its parameters."""

    kind: str
    wires: dict[str, list[int | str]]
    parameters: dict[str, str]

    @property
    def inputs(self) -> list[list[int | str]]:
        return [wires for name, wires in self.wires.items() if name not in OUTPUTS]

    @property
    def outputs(self) -> list[int | str]:
        return [wire for name in OUTPUTS for wire in self.wires.get(name, [])]

    @property
    def is_register(self) -> bool:
        return self.kind.startswith(("FD", "$_DFF_P_"))


class Netlist:
    """One flat module. Registers begin with 0.

    ``driven`` are the wires that cells drive and take; one of them can be ``inverted``, to see
    whether a broken copy is caught.
    """

    def __init__(self, path: Path, top: str) -> None:
        module: Any = json.loads(path.read_text())["modules"][top]
        self._ports = {name: port["bits"] for name, port in module["ports"].items()}
        cells = [
            Cell(cell["type"], cell["connections"], cell["parameters"])
            for cell in module["cells"].values()
        ]
        self.registers = [cell for cell in cells if cell.is_register]
        self.cells = list(self._ordered([cell for cell in cells if not cell.is_register]))
        taken = {wire for cell in cells for port in cell.inputs for wire in port}
        taken |= {wire for bits in self._ports.values() for wire in bits}
        self.driven = [wire for cell in self.cells for wire in cell.outputs if wire in taken]
        self.inverted: int | str | None = None
        self._state: dict[int | str, np.ndarray] = {}

    @staticmethod
    def _ordered(cells: list[Cell]) -> Iterator[Cell]:
        """Yield the cells, each after those that drive it."""
        driver = {wire: cell for cell in cells for wire in cell.outputs}
        done: set[int] = set()
        stack = [(cell, False) for cell in cells]
        while stack:
            cell, ready = stack.pop()
            if id(cell) in done:
                continue
            if ready:
                done.add(id(cell))
                yield cell
                continue
            outputs = set(cell.outputs)
            stack.append((cell, True))
            wires = {wire for port in cell.wires.values() for wire in port} - outputs
            stack += [
                (driver[wire], False)
                for wire in wires
                if wire in driver and id(driver[wire]) not in done
            ]

    def preset(self, port: str, bits: Bits) -> None:
        """Set the registers behind an output ``port``."""
        self._state |= dict(zip(self._ports[port], bits, strict=True))

    def step(self, inputs: Mapping[str, Bits]) -> dict[str, Bits]:
        """Return the outputs for ``inputs`` by port, before the clock's edge; then step."""
        words = len(next(iter(inputs.values()))[0])
        zero = np.zeros(words, np.uint64)
        value: dict[int | str, np.ndarray] = {"0": zero, "x": zero, "1": ~zero}
        for name, bits in self._ports.items():
            if name in inputs:
                value |= dict(zip(bits, inputs[name], strict=True))
        for register in self.registers:
            (wire,) = register.wires["Q"]
            value[wire] = self._state.get(wire, zero)
        for wire in (wire for bits in self._ports.values() for wire in bits):
            value.setdefault(wire, zero)
        for cell in self.cells:
            _evaluate(cell, value)
            if self.inverted in cell.outputs:
                value[self.inverted] = ~value[self.inverted]
        for register in self.registers:
            (wire,), (data,) = register.wires["Q"], register.wires["D"]
            (enable,), (clear,) = (register.wires.get(n, [d]) for n, d in (("CE", "1"), ("R", "0")))
            after = (value[data] & value[enable]) | (value[wire] & ~value[enable])
            self._state[wire] = after & ~value[clear]
        return {name: [value[wire] for wire in bits] for name, bits in self._ports.items()}


def _evaluate(cell: Cell, value: dict[int | str, np.ndarray]) -> None:
    wires = cell.wires
    if cell.kind == "CARRY4":
        carry = value[wires["CI"][0]] | value[wires["CYINIT"][0]]
        for n in range(4):
            propagate = value[wires["S"][n]]
            value[wires["O"][n]] = propagate ^ carry
            carry = (propagate & carry) | (~propagate & value[wires["DI"][n]])
            value[wires["CO"][n]] = carry
    elif cell.kind.startswith("LUT"):
        size = int(cell.kind[3])
        table = int(cell.parameters["INIT"], 2)
        operands = [value[wires[f"I{n}"][0]] for n in range(size)]
        if cell.kind == "LUT6_2":
            value[wires["O5"][0]] = _lookup(table & (1 << 32) - 1, operands[:5])
            value[wires["O6"][0]] = _lookup(table, operands)
        else:
            value[wires["O"][0]] = _lookup(table, operands)
    else:
        names = INPUTS.get(cell.kind) or tuple(n for n in ("A", "B", "S") if n in wires)
        (output,) = cell.outputs
        value[output] = GATES[cell.kind](*(value[wires[name][0]] for name in names))


def _lookup(table: int, operands: list[np.ndarray]) -> np.ndarray:
    """Return the entries of ``table`` that ``operands``, lowest first, choose."""
    if not operands:
        raise ValueError("a table has inputs")
    *rest, last = operands
    half = 1 << len(rest)
    low, high = table & (1 << half) - 1, table >> half
    full = (1 << half) - 1
    if low == high and rest:
        return _lookup(low, rest)
    one = _part(high, full, rest, last)
    other = _part(low, full, rest, last)
    return (last & one) | (~last & other)


def _part(table: int, full: int, rest: list[np.ndarray], like: np.ndarray) -> np.ndarray:
    if table in (0, full):
        return np.full_like(like, ONES if table else 0)
    return _lookup(table, rest)

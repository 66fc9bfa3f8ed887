"""Products of sparse matrices on a simulated SpArch engine, checked: ``celosia spgemm``.

.. code-block:: sh

    python -c "
    import scipy.sparse
    from celosia.dataflow.sparch.presets import TINY
    from celosia.scripts.spgemm import spgemm
    matrix = scipy.sparse.random_array((50, 50), density=0.1, random_state=1)
    done = spgemm((100 * matrix).astype(int).tocsr(), accelerator=TINY)
    print(done.result.nnz, done.run.cycles, done.holds)"
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from celosia.dataflow.memory import DDR4, MemoryModel
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.choose import Priced, choose
from celosia.dataflow.sparch.golden import evaluate, to_csr
from celosia.dataflow.sparch.plan import Strategy
from celosia.dataflow.sparch.traffic import (
    Traffic,
    gustavson_traffic,
    measured_traffic,
    outerspace_traffic,
)
from celosia.dataflow.sparch.values import to_values
from celosia.fpga.devices import Device
from celosia.fpga.netlist import Netlist, check_netlist
from celosia.models.csr import Csr, from_scipy
from celosia.scripts.built import build
from celosia.scripts.console import Report, table
from celosia.sim.product import ProductRun, run_product
from celosia.sim.run import Simulator


class Mode(enum.Enum):
    """How a product is made."""

    SPARCH = "sparch"
    """Condensed columns in a Huffman tree, as published."""
    ROWWISE = "rowwise"
    """Each row's merges by themselves."""
    ADAPTIVE = "adaptive"
    """The fastest of these and of ways to keep the right matrix, for these matrices."""


STRATEGIES = {
    Mode.SPARCH: (Strategy(),),
    Mode.ROWWISE: (Strategy(rowwise=True),),
    Mode.ADAPTIVE: (),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Multiplication:
    """A product that was run on an engine.

    ``result`` is a ``scipy.sparse.csr_array`` of int64, of float64 (fixed point) or of float32,
    without zeros; ``priced`` the program with its prediction, ``traffic`` what it was to move,
    ``differences`` what is not as expected: nothing, if it ``holds``. ``netlist`` is what ran in
    the place of the RTL, where something did.
    """

    result: Any
    run: ProductRun
    priced: Priced
    traffic: Traffic
    differences: tuple[str, ...]
    netlist: Netlist | None = None

    @property
    def holds(self) -> bool:
        """Whether every bit, cycle and counter is as expected."""
        return not self.differences

    @property
    def products_a_cycle(self) -> float:
        """Products of two nonzeros a cycle, all cycles counted."""
        return self.priced.program.products / self.run.cycles

    def as_dict(self) -> dict[str, Any]:
        """Return all as JSON values."""
        plan, strategy = self.priced.program.plan, self.priced.strategy
        return {
            "accelerator": self.run.accelerator,
            "netlist": self.netlist and self.netlist.as_dict(),
            "rows": plan.left.shape[0],
            "columns": plan.right.shape[1],
            "nonzeros_left": plan.left.nonzeros,
            "nonzeros_right": plan.right.nonzeros,
            "nonzeros": self.result.nnz,
            "products": plan.products,
            "rounds": len(plan.schedule.rounds),
            "rowwise": strategy.rowwise,
            "padded": strategy.cut.padded,
            "packed": strategy.cut.packed,
            "cycles_measured": self.run.cycles,
            "cycles_predicted": self.priced.timing.cycles,
            "counters": {each.name.lower(): n for each, n in self.run.counters.items()},
            "dram_bytes": self.traffic.total,
            "dram_bytes_outerspace": outerspace_traffic(plan).total,
            "dram_bytes_gustavson": gustavson_traffic(plan).total,
            "products_a_cycle": self.products_a_cycle,
            "sim_seconds": self.run.seconds,
            "differences": list(self.differences),
            "exact": self.holds,
        }

    def tables(self) -> tuple[Table, ...]:
        """Return what a person wants to see."""
        value = self.as_dict()
        shown = (
            "rows", "columns", "nonzeros_left", "nonzeros_right", "nonzeros", "products", "rounds",
            "rowwise", "padded", "packed", "cycles_measured", "cycles_predicted",
            "products_a_cycle", "dram_bytes", "dram_bytes_outerspace", "dram_bytes_gustavson",
            "sim_seconds",
        )  # fmt: skip
        rows = [(name.replace("_", " "), value[name]) for name in shown]
        return (table(("", self.run.accelerator), rows),)

    def verdict_line(self) -> str:
        """Return one line: whether all is as expected."""
        what = "" if self.netlist is None else f"on {self.netlist}: "
        return what + ("; ".join(self.differences) or "every bit, cycle and counter as expected")


def spgemm(
    left: Any,
    right: Any = None,
    *,
    accelerator: SparchAccelerator,
    memory: MemoryModel = DDR4,
    mode: Mode = Mode.ADAPTIVE,
    simulator: Simulator | None = None,
    device: Device | None = None,
    report: Report | None = None,
) -> Multiplication:
    """Multiply two sparse matrices on the RTL, and compare bits, cycles and counters.

    Parameters
    ----------
    left, right
        Of ``scipy.sparse``, or :class:`~celosia.models.csr.Csr`; ``left`` by itself by default.
    accelerator, memory
        The engine, and the memory behind it.
    mode
        How.
    simulator
        Of the accelerator; built, or found in the cache, by default.
    device
        Without a simulator: run the netlist of cells of this device in the place of the RTL.
    report
        Called as the work proceeds.

    Raises
    ------
    CelosiaError
        The matrices or their values do not suit each other or the engine, as
        :func:`~celosia.dataflow.sparch.compile.compile_product`, the engine stops, or there is no
        netlist of it (:func:`celosia.fpga.netlist.netlist`).
    ValueError
        When a simulator and a device are given.
    """
    if simulator is not None and device is not None:
        raise ValueError("device must be None where there is a simulator: it says what runs")
    if device is not None:
        check_netlist(accelerator, device)
    one = left if isinstance(left, Csr) else from_scipy(left, what="the left matrix")
    if right is None:
        other = one
    else:
        other = right if isinstance(right, Csr) else from_scipy(right, what="the right matrix")
    priced = choose(one, other, accelerator, memory, tried=STRATEGIES[mode])
    netlist = None
    if simulator is None:
        built = build(accelerator, device, report or (lambda what, done, total: None))
        simulator, netlist = built.simulator, built.netlist
    run = run_product(simulator, priced.program, memory)
    return multiplication(priced, run, netlist)


def multiplication(
    priced: Priced, run: ProductRun, netlist: Netlist | None = None
) -> Multiplication:
    """Return what ``run`` made of a program, compared with what was to be expected.

    It ran on the ``netlist``, where there is one, in the place of the RTL.
    """
    plan = priced.program.plan
    golden = evaluate(plan)
    expected = to_csr(golden[-1].stream, run.output.shape)
    made = [f"{what}: expected {one}, got {other}" for what, one, other in _compared(priced, run)]
    values = to_values(run.output.values, plan.accelerator.elements)
    return Multiplication(
        result=run.output.with_values(values).to_scipy(),
        run=run,
        priced=priced,
        traffic=measured_traffic(plan, [len(each.stream.keys) for each in golden]),
        differences=(*_first_difference(expected, run.output), *made),
        netlist=netlist,
    )


def _compared(priced: Priced, run: ProductRun) -> list[tuple[str, object, object]]:
    """Return cycles and counters that differ: what, predicted, measured."""
    timing = priced.timing
    rounds = zip(timing.layers, run.round_cycles, strict=True)
    pairs: list[tuple[str, object, object]] = [
        ("cycles", timing.cycles, run.cycles),
        *((f"cycles of {layer.name}", layer.cycles, cycles) for layer, cycles in rounds),
        *((each.name, timing.counters[each], n) for each, n in run.counters.items()),
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _first_difference(expected: Csr, got: Csr) -> tuple[str, ...]:
    """Name the first element that differs, if any does."""
    count = min(expected.nonzeros, got.nonzeros)
    found = [
        np.stack([m.rows[:count], m.columns[:count], _codes(m.values[:count])])
        for m in (expected, got)
    ]
    wrong = np.flatnonzero((found[0] != found[1]).any(axis=0))
    if len(wrong):
        at = int(wrong[0])
        places = [f"{each[2, at]} in row {each[0, at]}, column {each[1, at]}" for each in found]
        return (f"element {at}: expected {places[0]}, got {places[1]}",)
    if expected.nonzeros != got.nonzeros:
        return (f"elements: expected {expected.nonzeros}, got {got.nonzeros}",)
    return ()


def _codes(values: np.ndarray) -> np.ndarray:
    """Return numbers as integers that are equal only where all bits are."""
    return values.view(np.int32).astype(np.int64) if values.dtype == np.float32 else values

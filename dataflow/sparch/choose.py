"""Which strategy is best for a product, by exact timing or bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.plan import Plan, Strategy, plan_product
from celosia.dataflow.sparch.program import SparchProgram
from celosia.dataflow.sparch.records import Cut
from celosia.dataflow.sparch.timing import sparch_timing
from celosia.dataflow.sparch.traffic import plan_traffic
from celosia.dataflow.timing import Timing
from celosia.models.csr import Csr


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Priced:
    """A program of a product, and what it takes."""

    strategy: Strategy
    program: SparchProgram
    timing: Timing


def strategies(accelerator: SparchAccelerator) -> tuple[Strategy, ...]:
    """Return what is tried for each product, SpArch's own first.

    Condensed columns or each row by itself; lines of one row, rows apart where that saves a cycle,
    or a buffer packed beat by beat, with the rows of B in order or gathered by use.
    """
    cuts = [Cut(), Cut(padded=True)]
    if accelerator.packs:
        cuts += [Cut(packed=True, padded=True, gathered=gathered) for gathered in (False, True)]
    return tuple(Strategy(rowwise=rowwise, cut=cut) for cut in cuts for rowwise in (False, True))


def choose(
    left: Csr,
    right: Csr,
    accelerator: SparchAccelerator,
    memory: MemoryModel,
    *,
    tried: Sequence[Strategy] = (),
    name: str = "product",
) -> Priced:
    """Return the fastest program of ``left`` times ``right``, the first of equals.

    Parameters
    ----------
    left, right, accelerator, name
        As for :func:`~celosia.dataflow.sparch.compile.compile_product`, which see for errors.
    memory
        With which memory.
    tried
        Strategies; :func:`strategies` by default, so it is never slower than SpArch's own.
    """

    def price(strategy: Strategy) -> Priced:
        program = compile_product(left, right, accelerator, strategy, name=name)
        return Priced(strategy=strategy, program=program, timing=sparch_timing(program, memory))

    every = (price(strategy) for strategy in tried or strategies(accelerator))
    return min(every, key=lambda priced: priced.timing.cycles)


def fewest_bytes(
    left: Csr, right: Csr, accelerator: SparchAccelerator, *, tried: Sequence[Strategy] = ()
) -> Plan:
    """Return the plan of ``left`` times ``right`` that moves the fewest bytes, the first of equals.

    Parameters and errors are those of :func:`choose`. Bytes are those of
    :func:`~celosia.dataflow.sparch.traffic.plan_traffic`.
    """
    plans = (
        plan_product(left, right, accelerator, strategy)
        for strategy in tried or strategies(accelerator)
    )
    return min(plans, key=lambda plan: plan_traffic(plan).total)

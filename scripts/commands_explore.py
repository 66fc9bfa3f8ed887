"""The command that searches for accelerators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.console import Console

from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file, make_folder
from celosia.scripts.console import emit, errors, live, progress, table
from celosia.scripts.explore.options import (
    Batch,
    Candidates,
    Clock,
    Cluster,
    DataflowName,
    DeviceName,
    Explained,
    Fixed,
    Limits,
    Memory,
    NetworkName,
    ObjectiveName,
    Seconds,
    Seed,
    Store,
    Strategy,
    Verify,
    Weights,
    Workers,
)
from celosia.scripts.options import Json, Output, hold

if TYPE_CHECKING:
    from celosia.dataflow.explore.bounds import Bound
    from celosia.dataflow.explore.outcome import Goal, Quantity
    from celosia.dataflow.explore.search import Progress
    from celosia.dataflow.memory import MemoryModel
    from celosia.fpga.devices import Device
    from celosia.scripts.explore.networks import Subject

Value = TypeVar("Value")

app = typer.Typer()


@app.command()
def explore(
    network: NetworkName,
    device: DeviceName = "zcu102",
    objective: ObjectiveName = "fps",
    limit: Limits = None,
    dataflow: DataflowName = None,
    fix: Fixed = None,
    weights: Weights = None,
    clock: Clock = None,
    memory: Memory = "ddr4",
    strategy: Strategy = "evolution",
    time: Seconds = None,
    candidates: Candidates = None,
    workers: Workers = None,
    cluster: Cluster = None,
    store: Store = None,
    batch: Batch = 1,
    seed: Seed = 0,
    verify: Verify = False,
    explain: Explained = None,
    output: Output = Path("build/explore"),
    as_json: Json = False,
) -> None:
    """Search for the best accelerator for a network on a device.

    For a network of compressed layers alone: the fastest EIE engine that fits, by Yosys's count.
    An interrupted search goes on where it was when it is run again with the same output or store.
    """
    from celosia.dataflow.dataflows import Dataflow
    from celosia.dataflow.explore.outcome import Goal, Quantity, parse_limit
    from celosia.dataflow.explore.search import Effort
    from celosia.dataflow.jit import kept
    from celosia.fpga.devices import find_device
    from celosia.scripts.arguments import read_choice, read_memory
    from celosia.scripts.explore import results, run, targets
    from celosia.scripts.explore.explain import check_layer
    from celosia.scripts.explore.explain import explain as explain_layer
    from celosia.scripts.explore.networks import read_subject
    from celosia.scripts.explore.page import write_page
    from celosia.scripts.explore.store import sqlite_url
    from celosia.scripts.explore.verify import verify as check
    from celosia.scripts.explore_eie import is_compressed

    part, wanted = find_device(device), read_choice("--objective", objective, Quantity)
    asked = targets.limits_of(part, [parse_limit(text) for text in limit or ()])
    model, fixed = read_memory(memory), targets.parse_fixed(fix or ())
    if is_compressed(network):
        # What is asked of dense engines alone.
        _refuse(
            limit=limit, dataflow=dataflow, fix=fix, weights=weights, clock=clock,
            candidates=candidates, store=store, cluster=cluster, explain=explain,
            verify=verify, batch=batch > 1, objective=wanted is not Quantity.FPS,
        )  # fmt: skip
        _explore_eie(network, part, model, output, as_json=as_json)
        return
    effort = _build(
        lambda: Effort(
            seconds=60.0 if time is None and candidates is None else time, candidates=candidates
        )
    )
    run.check_strategy(strategy)
    make_folder(output)
    with errors.status(f"Reading {network}"):
        subject = read_subject(network, weights or ())
    if explain is not None:
        check_layer(subject, explain)
    _check_accuracy(subject, {wanted, *(each.quantity for each in asked)})
    goal = _build(
        lambda: Goal(
            objective=wanted,
            limits=asked,
            clock_mhz=targets.CLOCKS[part.family] if clock is None else clock,
            accuracies=tuple(variant.accuracy for variant in subject.variants),
            samples=batch,
        )
    )
    request = run.Request(
        subject=subject,
        device=part,
        goal=goal,
        memory=model,
        effort=effort,
        fixed=fixed,
        strategy=strategy,
        seed=seed,
        workers=workers or run.default_workers(),
        cluster=cluster,
        dataflow=None if dataflow is None else read_choice("--dataflow", dataflow, Dataflow),
        store=store or sqlite_url(output / "explore.sqlite"),
    )
    if not kept("emit_kernel"):
        errors.print("compiling kernels, once for this version: it takes about a minute")
    with _live(f"{subject.name} on {part.name}") as tell:
        found = run.explore(request, tell)
    summary = results.summarise(found)
    files = results.write_files(found, output)
    if explain is not None:
        summary["explained"] = {"layer": explain, "mappings": explain_layer(found, explain)}
    if verify:
        with progress("Verifying") as report:
            summary["verified"] = check(found, output, report)
    files |= results.write_summary(summary, output)
    write_page(summary, output / results.REPORT)
    files["report"] = str(output / results.REPORT)

    def show(console: Console) -> None:
        for part_of in results.tables(summary):
            console.print(part_of)
        for line in results.lines(summary):
            console.print(line, markup=False)
        for what, name in files.items():
            console.print(f"{what}: {name}", markup=False)

    emit(summary | {"files": files}, as_json=as_json, show=show)
    hold(not verify or summary["verified"]["holds"])


def _refuse(**given: object) -> None:
    """Refuse the options that were given, as EIE engines are not searched that way."""
    names = [f"--{name}" for name, value in given.items() if value]
    if names:
        raise CelosiaError(
            f"of {', '.join(names)} a search for an EIE engine knows nothing: the network has "
            "compressed layers alone, for which the fastest engine that fits is found. Leave out "
            f"{'that' if len(names) == 1 else 'those'}"
        )


def _check_accuracy(subject: Subject, asked: set[Quantity]) -> None:
    """Refuse to judge by accuracy what has no data to measure it on."""
    from celosia.dataflow.explore.outcome import Quantity
    from celosia.scripts.explore.networks import TRAINED

    if Quantity.ACCURACY in asked and any(v.accuracy is None for v in subject.variants):
        raise CelosiaError(
            f"how accurate {subject.name} is, is not known, as there is no data to measure it on: "
            f"leave accuracy out of --objective and --limit, or take {' or '.join(TRAINED)}"
        )


def _explore_eie(
    network: str, part: Device, memory: MemoryModel, output: Path, *, as_json: bool
) -> None:
    """Choose an EIE engine and write its file."""
    from celosia.dataflow.engines import dump_engine
    from celosia.models.storage import load
    from celosia.scripts.explore_eie import explore_eie

    with progress(f"EIE engines for {part.name}") as report:
        found = explore_eie(load(network), part, memory, report)
    make_folder(output)
    target = output / "accelerator.toml"
    with atomic_file(target) as draft:
        draft.write_text(dump_engine(found.accelerator))
    value = found.as_dict() | {"files": {"accelerator": str(target)}}

    def show(console: Console) -> None:
        used = found.report.total.as_dict()
        rows = [
            (name, used[name], f"{100 * s:.1f} %") for name, s in found.report.fractions.items()
        ]
        console.print(table(("resource", "used", "share"), rows, title=found.accelerator.name))
        console.print(f"{found.cycles:,} cycles a sample, half of it not zero", markup=False)
        console.print(f"accelerator: {target}", markup=False)

    emit(value, as_json=as_json, show=show)
    hold(found.report.fits)


def _build(make: Callable[[], Value]) -> Value:
    """Return what ``make`` makes; what its constructor refuses is the user's to mend."""
    try:
        return make()
    except ValueError as error:
        raise CelosiaError(str(error)) from error


def _best_so_far(now: Progress, goal: Goal) -> str:
    """Return the best in words, and how far its mapping is from the bound of all on it."""
    if now.best is None:
        return "none yet"
    quantity, outcome = goal.objective, now.best.outcome
    amount = goal.measure(outcome, now.best.job.variant, quantity)
    gap = goal.gap(outcome, quantity)
    beside = "" if gap is None else f" (gap {100 * gap:.1f} %)"
    return f"{amount:,.4g} {quantity.unit}{beside}"


@contextmanager
def _live(title: str) -> Iterator[Callable[[Progress, Goal, Bound], None]]:
    """Show how a search stands on stderr; yield what to tell it."""
    with live(f"{title}: beginning") as show:

        def tell(now: Progress, goal: Goal, bound: Bound) -> None:
            show(
                f"{title}: best {_best_so_far(now, goal)} | "
                f"bound {goal.fps(bound.cycles):,.4g} frames/s | "
                f"{now.considered} considered, {now.evaluated} evaluated, "
                f"{now.rate:.2f} a second | {now.seconds:.0f} s"
            )

        yield tell

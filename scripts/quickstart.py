"""The main job: from trained networks to verified hardware, a bitstream and a report."""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.fpga.devices import ZCU102
from celosia.fpga.ecp5 import Bitstream, bitstream
from celosia.fpga.serial_boards import find_serial_board
from celosia.fpga.yosys import SynthReport, synth
from celosia.models.archive import export_model
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file, make_folder
from celosia.models.importer import check_model, import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Network
from celosia.models.processes import Processes
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe
from celosia.models.storage import save
from celosia.models.zoo import Workload, workload
from celosia.rtl.package import generate
from celosia.rtl.verilog import count_modules
from celosia.scripts.console import errors, progress, table
from celosia.scripts.report import write_report
from celosia.scripts.simulate import Look, simulate
from celosia.scripts.simulation_results import summarise


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One network of the main job: what is quantised how, and what it runs on."""

    name: str
    workload: str
    recipe: Recipe
    accelerator: str

    @property
    def text(self) -> str:
        """The recipe in words."""
        return self.recipe.text


JOBS = (
    Job(name="rnet", workload="rnet", recipe=Recipe(activation_bits=8), accelerator="zcu102"),
    Job(name="rnet_w4a4", workload="rnet", recipe=Recipe(activation_bits=4), accelerator="zcu102"),
    Job(name="digits", workload="digits", recipe=Recipe(activation_bits=8), accelerator="ecp5"),
)
BITSTREAM = "ecp5"
"""The preset that becomes a bitstream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quickstart:
    """What the main job found; ``summary`` is what ``summary.json`` holds."""

    summary: dict[str, Any]

    @property
    def holds(self) -> bool:
        """Whether everything is as expected."""
        return bool(self.summary["holds"])

    def tables(self) -> list[Table]:
        """Return what to show."""
        networks = self.summary["networks"].items()
        checked = (
            (
                name,
                f"{net['accuracy_float']:.4f}",
                f"{net['accuracy_integer']:.4f}",
                net["samples"],
                "yes" if net["bit_exact"] else "NO",
                net["cycles_predicted"],
                net["cycles_measured"],
            )
            for name, net in networks
        )
        built = (
            (
                name,
                net["accelerator"],
                f"{100 * net['utilisation']:.1f} %",
                *(net[kind] for kind in ("lut", "ff", "dsp", "bram36")),
            )
            for name, net in networks
        )
        made = self.summary["bitstream"]
        line = (made["bitstream"], made["part"], made["fmax_mhz"], made["clock_mhz"])
        return [
            table(
                ("network", "float", "RTL", "samples", "bit exact", "predicted", "measured"),
                checked,
                "Accuracy, and cycles of one sample",
            ),
            table(
                ("network", "accelerator", "array used", "LUT", "FF", "DSP", "BRAM36"),
                built,
                f"Area on the {ZCU102.name}",
            ),
            table(("bitstream", "part", "achieved MHz", "board's MHz"), [line]),
        ]


def quickstart(directory: str | Path, names: tuple[str, ...], samples: int | None) -> Quickstart:
    """Run the main job and write everything into ``directory``.

    Synthesis and place and route run beside the rest. What was built or synthesised before is
    taken from the cache, which is keyed by content.

    Parameters
    ----------
    directory
        Receives ``summary.json``, ``report.html``, the networks, the Verilog, the bitstream.
    names
        Which workloads: ``rnet``, ``digits``.
    samples
        How many samples of each; None for all.

    Raises
    ------
    CelosiaError
        When a name is unknown or a tool is missing.
    OSError
        When a file cannot be written.
    """
    begin = time.perf_counter()
    jobs = [job for job in JOBS if job.workload in names]
    unknown = sorted(set(names) - {job.workload for job in JOBS})
    if unknown or not jobs:
        known = ", ".join(dict.fromkeys(job.workload for job in JOBS))
        raise CelosiaError(f"unknown network {', '.join(unknown)!r}: known are {known}")
    target = Path(directory)
    make_folder(target)
    with _beside() as (pool, processes):
        routed = pool.submit(_routed, target, processes)
        reports = {
            name: pool.submit(synth, preset(name), ZCU102, processes)
            for name in dict.fromkeys(job.accelerator for job in jobs)
        }
        work = {name: workload(name) for name in dict.fromkeys(job.workload for job in jobs)}
        generated: set[str] = set()
        results = {
            job.name: _Task(job, work[job.workload], target, generated).run(samples) for job in jobs
        }
        with errors.status("Synthesis, and place and route (the first time takes minutes)"):
            made = routed.result()
            for job in jobs:
                results[job.name] |= _area(reports[job.accelerator], made, target)
    summary = {
        "celosia": importlib.metadata.version("celosia"),
        "holds": made.meets_clock and all(_holds(result) for result in results.values()),
        "seconds": round(time.perf_counter() - begin, 1),
        "networks": results,
        "bitstream": made.as_dict(),
    }
    with atomic_file(target / "summary.json") as draft:
        draft.write_text(json.dumps(summary, indent=2) + "\n")
    write_report(summary, target / "report.html")
    return Quickstart(summary=summary)


@contextmanager
def _beside() -> Iterator[tuple[ThreadPoolExecutor, Processes]]:
    """Yield threads for the FPGA tools, and what stops these tools when the block fails."""
    pool, processes = ThreadPoolExecutor(max_workers=2), Processes()
    try:
        yield pool, processes
    except BaseException:
        processes.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _routed(target: Path, processes: Processes) -> Bitstream:
    return bitstream(preset(BITSTREAM), find_serial_board("ulx3s"), target / "bitstream", processes)


def _holds(result: dict[str, Any]) -> bool:
    return bool(result["bit_exact"] and result["cycles_exact"] and result["counters_exact"])


def _area(future: Future[SynthReport], made: Bitstream, target: Path) -> dict[str, Any]:
    report = future.result()
    total = report.total.as_dict()
    return {
        "lut": total["lut"],
        "ff": total["ff"],
        "carry": total["carry"],
        "dsp": total["dsp"],
        "bram36": total["bram"],
        "synthesis": report.as_dict(),
        "bitstream": str(made.path.relative_to(target)),
        "ecp5_fmax_mhz": round(made.fmax_mhz, 2),
    }


class _Task:
    """One job's way from the trained model to the comparison."""

    def __init__(self, job: Job, work: Workload, target: Path, generated: set[str]) -> None:
        self._job = job
        self._generated = generated  # accelerators whose Verilog this run has written
        self._work = work
        self._target = target
        self._seconds: dict[str, float] = {}

    def run(self, samples: int | None) -> dict[str, Any]:
        """Do everything but synthesis; return the entry of the summary."""
        job, work = self._job, self._work
        count = min(samples or len(work.inputs), len(work.inputs))
        network = self._quantise()
        accelerator = preset(job.accelerator)
        verilog = self._generate(accelerator)
        codes = quantise_inputs(network, work.inputs[:count])
        with progress(job.name) as report, self._step("simulate and compare"):
            found = simulate(network, accelerator, codes, DDR4, report, self._look())
        outputs = [found.run.tensors[name] for name in network.outputs]
        self._seconds |= found.seconds
        return {
            **summarise(found),
            "network": job.name,
            "recipe": job.text,
            "array": _array(accelerator),
            "accuracy_float": _accuracy(work, work.run_float(), count),
            "accuracy_integer": _accuracy(work, outputs, count),
            "verilog_modules": count_modules(verilog),
            "verilog_bytes": len(verilog.encode()),
            "seconds": {name: round(value, 3) for name, value in self._seconds.items()},
        }

    def _quantise(self) -> Network:
        job, work = self._job, self._work
        with self._step("import"):
            exported = export_model(work.model, (work.example,))
            findings = check_model(exported)
            if findings:
                raise CelosiaError("\n".join(str(finding) for finding in findings))
            graph = import_program(exported, job.name)
        with self._step("quantise"):
            network = quantize(graph, work.calibration, job.recipe)
        save(network, self._target / f"{job.name}.celosia")
        return network

    def _generate(self, accelerator: Accelerator) -> str:
        folder = self._target / "rtl" / accelerator.name
        with self._step("generate"):
            if accelerator.name not in self._generated:
                generate(accelerator, folder)
                self._generated.add(accelerator.name)
        return "".join(path.read_text() for path in sorted(folder.rglob("*.v")))

    def _look(self) -> Look:
        return Look(trace=self._target / f"{self._job.name}_divergence.fst", explain=True)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Show and time one step."""
        title = f"{self._job.name}: {name}"
        begin = time.perf_counter()
        errors.print(f"[bold]·[/] {title} ...")
        yield
        self._seconds[name] = time.perf_counter() - begin
        errors.print(f"[bold green]✓[/] {title}: {self._seconds[name]:.1f} s")


def _accuracy(work: Workload, outputs: list[np.ndarray], count: int) -> float:
    predicted = work.predict([np.asarray(output)[:count] for output in outputs])
    return float((predicted == work.labels[:count]).mean())


def _array(accelerator: Accelerator) -> str:
    array = accelerator.array
    mix = ", ".join(f"{group.count} {group.format.name}" for group in array.columns)
    return (
        f"{array.column_count} columns ({mix}) of {array.lanes} lanes for {array.pixels} pixels: "
        f"{array.products:,} products a cycle"
    )

"""Other mappers beside ours, each in an environment of its own that is made here.

They read what ``celosia export`` writes. AccelForge prices our mapping with its own model and then
searches for one of its own; ZigZag searches with our spatial mapping and order; SCALE-Sim simulates
the array cycle by cycle in each of its dataflows, beside our closed forms. What does not install is
left out, with the reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from celosia.dataflow.cache import cache_root
from celosia.dataflow.hierarchy.architecture_file import read_architecture
from celosia.dataflow.hierarchy.layer import Dim, Layer
from celosia.dataflow.hierarchy.resnet18 import RESNET18
from celosia.dataflow.hierarchy.systolic import Stationary, systolic_cycles
from celosia.scripts.console import Report
from celosia.scripts.map_layer import export_mapping, map_layer

LAYERS = ("l2d", "l3d", "l4d", "fc")
"""The layers that other mappers need seconds for, not minutes."""

_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Energy (pJ, None where a tool knows none), cycles and CPU seconds of a layer."""

    energy_pj: float | None
    cycles: float
    cpu_seconds: float


def _mapped(sizes: str, _way: str) -> Figures:
    ours = map_layer("a", sizes).summary()
    return Figures(**{field.name: ours[field.name] for field in fields(Figures)})


def _systolic(sizes: str, way: str) -> Figures:
    """Return the cycles of the closed form of a dataflow, on architecture A's array."""
    spread = {axis.spreads: axis.size for axis in read_architecture("a").axes}
    rows, columns = spread[Dim.C,], spread[Dim.K,]
    began = time.process_time()
    cycles = systolic_cycles(Layer.parse(sizes), rows, columns, Stationary(way))
    return Figures(energy_pj=None, cycles=cycles, cpu_seconds=time.process_time() - began)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another mapper: its packages, the interpreters that it runs on, and how it is called.

    ``script`` gets the folder of the files and prints JSON: for each of its ways to work energy
    (pJ), cycles and CPU seconds. ``ours`` gives our own of a layer, for such a way.
    """

    tool: str
    packages: tuple[str, ...]
    interpreter: str
    script: str
    ours: Callable[[str, str], Figures] = _mapped


_ACCELFORGE = """
import json, sys, time
import accelforge, pydot
pydot.core.Dot.create = lambda self, *a, **k: b""  # draws its answers with a program of its own
folder = sys.argv[1]
names = [folder + "/" + name for name in ("arch.yaml", "workload.yaml", "mapping.yaml")]
found = {}
def run(way, work):
    began = time.process_time()
    made = work()
    found[way] = [float(made.energy()) * 1e12, float(made.latency()) * 1e9]
    found[way].append(time.process_time() - began)
run("prices our mapping", accelforge.Spec.from_yaml(*names).evaluate_mapping)
spec = accelforge.Spec.from_yaml(*names[:2])
spec.mapper.metrics = accelforge.mapper.Metrics.ENERGY
run("searches", lambda: spec.map_workload_to_arch(print_progress=False))
print(json.dumps(found))
"""

_ZIGZAG = """
import json, logging, sys, time
logging.disable(logging.CRITICAL)
from zigzag.api import get_hardware_performance_zigzag
folder = sys.argv[1]
names = [folder + "/" + name for name in ("workload.yaml", "accelerator.yaml", "mapping.yaml")]
began = time.process_time()
energy, cycles = get_hardware_performance_zigzag(
    *names, opt="energy", dump_folder=folder + "/out", loma_show_progress_bar=False
)[:2]
print(json.dumps({"takes our order": [energy, cycles, time.process_time() - began]}))
"""

_SCALESIM = """
import contextlib, csv, io, json, pathlib, sys, time
from scalesim.scale_sim import scalesim
folder = pathlib.Path(sys.argv[1])
config = (folder / "scale.cfg").read_text()
found = {}
for way in ("ws", "os", "is"):
    lines = [f"Dataflow = {way}" if l.startswith("Dataflow") else l for l in config.splitlines()]
    (folder / "scale.cfg").write_text("\\n".join(lines))
    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        scalesim(
            save_disk_space=True, verbose=False, config=str(folder / "scale.cfg"),
            topology=str(folder / "topology.csv"), layout=str(folder / "layout.csv"),
        ).run_scale(top_path=str(folder / way))
    (report,) = (folder / way).rglob("COMPUTE_REPORT.csv")
    (row,) = csv.DictReader(report.open(), skipinitialspace=True)
    found[way] = [None, float(row["Total Cycles"]), time.process_time() - began]
print(json.dumps(found))
"""

PEERS = (
    Peer(
        tool="accelforge",
        packages=("accelforge==1.0.467",),
        interpreter="python3.12",
        script=_ACCELFORGE,
    ),
    Peer(
        tool="zigzag",
        packages=("zigzag-dse==3.9.1", "six"),  # which it needs and does not declare
        interpreter="python3.11",
        script=_ZIGZAG,
    ),
    Peer(
        tool="scalesim",
        packages=("scalesim==3.0.0", "numpy==1.26.4"),  # not with 2.4
        interpreter="python3.11",
        script=_SCALESIM,
        ours=_systolic,
    ),
)


def bench_peers(report: Report, names: tuple[str, ...] = LAYERS) -> dict[str, Any]:
    """Return what each peer makes of layers on architecture A, beside our energy and cycles."""
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for peer in PEERS:
        try:
            report(f"{peer.tool}: its environment", 0, len(names))
            python = environment(peer)
            for done, name in enumerate(names):
                report(f"{peer.tool}: {name}", done, len(names))
                rows += _rows(peer, python, name)
        except _NotHereError as reason:
            skipped[peer.tool] = str(reason)
    return {"peers": rows, "peers_skipped": skipped}


class _NotHereError(Exception):
    """A peer does not install or does not run here; the message says why."""


def environment(peer: Peer) -> Path:
    """Return the interpreter of a peer's environment, which is made the first time."""
    folder = cache_root() / "peers" / peer.tool
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if ready.exists() and ready.read_text() == " ".join(peer.packages):
        return python
    base = shutil.which(peer.interpreter)
    if base is None and sys.version_info[:2] == tuple(
        int(part) for part in peer.interpreter.removeprefix("python").split(".")
    ):
        base = sys.executable
    if base is None:
        raise _NotHereError(f"there is no {peer.interpreter} on the path")
    shutil.rmtree(folder, ignore_errors=True)
    _call([base, "-m", "venv", str(folder)])
    _call([str(python), "-m", "pip", "install", "--quiet", *peer.packages])
    ready.write_text(" ".join(peer.packages))
    return python


def _rows(peer: Peer, python: Path, name: str) -> list[dict[str, Any]]:
    sizes = str(RESNET18[name].layer)
    with tempfile.TemporaryDirectory() as folder:
        export_mapping("a", sizes, peer.tool, Path(folder))
        said = _call([str(python), "-c", peer.script, folder])
    found = json.loads(said.strip().splitlines()[-1])
    rows = []
    for way, (energy, cycles, seconds) in found.items():
        theirs = Figures(energy_pj=energy, cycles=cycles, cpu_seconds=seconds)
        ours = {f"our_{key}": value for key, value in asdict(peer.ours(sizes, way)).items()}
        rows.append({"tool": peer.tool, "layer": name, "way": way, **asdict(theirs), **ours})
    return rows


def _call(command: list[str]) -> str:
    """Run a command; return what it said, or raise with the last line of its complaints."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        raise _NotHereError(f"{Path(command[0]).name} failed: {lines[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise _NotHereError(f"{Path(command[0]).name} took more than {_SECONDS} s") from error
    return done.stdout

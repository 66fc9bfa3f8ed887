"""Other mappers beside ours, each in an environment of its own that is made here.

They read what ``celosia export`` writes. AccelForge prices our mapping with its own model and then
searches for one of its own; ZigZag searches with our spatial mapping and order. What does not
install is left out, with the reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from celosia.dataflow.cache import cache_root
from celosia.dataflow.hierarchy.resnet18 import RESNET18
from celosia.scripts.console import Report
from celosia.scripts.map_layer import export_mapping, map_layer

LAYERS = ("l2d", "l3d", "l4d", "fc")
"""The layers that other mappers need seconds for, not minutes."""

_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another mapper: its packages, the interpreters that it runs on, and how it is called.

    ``script`` gets the folder of the files and prints JSON: for each of its ways to work energy
    (pJ), cycles and CPU seconds.
    """

    tool: str
    packages: tuple[str, ...]
    interpreter: str
    script: str


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
    ours = map_layer("a", sizes).summary()
    with tempfile.TemporaryDirectory() as folder:
        export_mapping("a", sizes, peer.tool, Path(folder))
        said = _call([str(python), "-c", peer.script, folder])
    found = json.loads(said.strip().splitlines()[-1])
    return [
        asdict(
            PeerRow(
                tool=peer.tool,
                layer=name,
                way=way,
                energy_pj=energy,
                cycles=cycles,
                cpu_seconds=seconds,
                our_energy_pj=ours["energy_pj"],
                our_cycles=ours["cycles"],
                our_cpu_seconds=ours["cpu_seconds"],
            )
        )
        for way, (energy, cycles, seconds) in found.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """What a peer makes of a layer, and what we do."""

    tool: str
    layer: str
    way: str
    energy_pj: float
    cycles: float
    cpu_seconds: float
    our_energy_pj: float
    our_cycles: float
    our_cpu_seconds: float


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

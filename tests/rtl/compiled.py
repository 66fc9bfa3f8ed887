"""Components compiled to machine code and kept: for more vectors than Python's simulator runs.

Several copies of a component can be compiled side by side, each broken in a way of its own: what
a test claims of the good one must be false of every other.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from celosia.rtl.shared import Shared
from celosia.rtl.verilog import write_verilog
from celosia.sim.cache import cached
from celosia.sim.toolchain import CXX_FLAGS, find_toolchain

PLAYER = Path(__file__).parent / "player.cpp"
TOP = "side_by_side"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """What breaks a component: ``attribute`` of ``owner`` is ``broken`` while it is built."""

    name: str
    owner: object
    attribute: str
    broken: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One component's Verilog, and what its ports are called beside others."""

    verilog: str
    module: str
    ports: tuple[tuple[str, int, bool], ...]
    """Name, bits, whether it is an input."""
    inputs: str = ""
    outputs: str = ""

    @classmethod
    def of(cls, component: Shared, *, inputs: str = "", outputs: str = "") -> Part:
        """Return the part of ``component``; ``inputs`` and ``outputs`` begin its ports' names."""
        ports = tuple((name, len(value), is_in) for name, value, is_in in component.port_values())
        return cls(
            verilog=write_verilog(component), module=component.module_name, ports=ports,
            inputs=inputs, outputs=outputs,
        )  # fmt: skip

    def outside(self, port: str, is_input: bool) -> str:
        """Return the name of ``port`` beside other parts."""
        return f"{self.inputs if is_input else self.outputs}{port}"


def mutants(make: Callable[[], Shared], mutations: Sequence[Mutation]) -> list[Part]:
    """Return what ``make`` makes, then a copy broken by each mutation; all take the same inputs."""
    parts = [Part.of(make(), outputs="good_")]
    for mutation in mutations:
        with mock.patch.object(mutation.owner, mutation.attribute, mutation.broken):
            parts.append(Part.of(make(), outputs=f"{mutation.name}_"))
        assert parts[-1].verilog != parts[0].verilog, mutation.name
    return parts


def side_by_side(parts: Sequence[Part]) -> tuple[str, dict[str, int], dict[str, int]]:
    """Return the Verilog of a module :data:`TOP` of all parts, and its ports' bits: in, out."""
    texts, instances = [], []
    given: dict[str, int] = {}
    got: dict[str, int] = {}
    for number, part in enumerate(parts):
        names = re.findall(r"^module (\w+)\(", part.verilog, flags=re.M)
        pattern = rf"\b({'|'.join(names)})\b"
        texts.append(re.sub(pattern, rf"\1_of_{number}", part.verilog))
        (header,) = re.findall(rf"^module {part.module}\(([^)]*)\)", part.verilog, flags=re.M)
        taken = set(re.findall(r"\w+", header))
        wires = {name: part.outside(name, is_in) for name, _, is_in in part.ports if name in taken}
        wires |= {"clk": "clk"} if "clk" in taken else {}
        wires |= {"rst": "1'b0"} if "rst" in taken else {}
        connected = ", ".join(f".{name}({wire})" for name, wire in wires.items())
        instances.append(f"  {part.module}_of_{number} part_{number}({connected});")
        for name, bits, is_in in part.ports:
            (given if is_in else got)[part.outside(name, is_in)] = bits
    ports = [
        "input clk",
        *(f"input [{bits - 1}:0] {name}" for name, bits in given.items()),
        *(f"output [{bits - 1}:0] {name}" for name, bits in got.items()),
    ]
    top = [f"module {TOP}({', '.join(ports)});", *instances, "endmodule", ""]
    return "\n".join([*texts, *top]), given, got


def port_bytes(bits: int) -> int:
    """Return the bytes of Verilator's type for ``bits`` bits."""
    return next((n for n in (1, 2, 4, 8) if bits <= 8 * n), 4 * -(-bits // 32))


def compile_program(
    verilog: str, top: str, source: Path, headers: Mapping[str, str] | None = None
) -> Path:
    """Return the program of ``source`` (C++) and module ``top``, from the cache if it is there.

    It includes ``Vunit.h`` and what ``headers`` hold, by name.
    """
    tools, texts = find_toolchain(), dict(headers or {})
    include = tools.root / "include"
    parts = [tools.identity, source.read_text(), verilog, top, *texts.values()]
    parts.append(Path(__file__).read_text())
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def build(folder: Path) -> None:
        def run(*command: str | Path) -> None:
            subprocess.run(
                command, cwd=folder, env=tools.environment, check=True, capture_output=True
            )

        for name, text in {"unit.v": verilog, **texts}.items():
            (folder / name).write_text(text)
        run(
            *tools.verilator, "--cc", "-O3", "--no-assert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
            "--prefix", "Vunit", "--top-module", top, "-Mdir", "cpp", "unit.v",
        )  # fmt: skip
        sources = [source, *sorted((folder / "cpp").glob("*.cpp"))]
        run(
            tools.compiler, *CXX_FLAGS, "-O1", f"-I{include}", f"-I{include / 'vltstd'}", "-Icpp",
            "-I.", "-include", "cpp/Vunit__pch.h", *sources, *runtime(), "-pthread",
            "-o", "program",
        )  # fmt: skip

    return cached(f"vectors-{digest}", build) / "program"


def runtime() -> list[Path]:
    """Return Verilator's own library, compiled."""
    tools = find_toolchain()
    include = tools.root / "include"

    def build(folder: Path) -> None:
        sources = [include / "verilated.cpp", include / "verilated_threads.cpp"]
        command = [tools.compiler, *CXX_FLAGS, "-O1", f"-I{include}", "-c", *sources]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    digest = hashlib.sha256(tools.identity.encode()).hexdigest()[:32]
    return sorted(cached(f"runtime-{digest}", build).glob("*.o"))


def packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return each row's codes side by side, the first lowest: bytes (rows, bytes of the port)."""
    places = (codes.reshape(len(codes), -1)[..., None] >> np.arange(bits) & 1).astype(np.uint8)
    flat = np.packbits(places.reshape(len(codes), -1), axis=1, bitorder="little")
    size = port_bytes(places.shape[1] * bits)
    return np.pad(flat, ((0, 0), (0, size - flat.shape[1])))


def numbers(raw: np.ndarray, bits: int) -> np.ndarray:
    """Return the signed numbers of ``bits`` bits, at most 64, in bytes (rows, bytes)."""
    words = np.zeros((len(raw), 8), np.uint8)
    words[:, : raw.shape[1]] = raw
    return (words.view(np.int64)[:, 0] << 64 - bits) >> 64 - bits


class Compiled:
    """A program that plays inputs into ``parts``, cycle by cycle."""

    def __init__(self, parts: Sequence[Part]) -> None:
        verilog, self._inputs, self.outputs = side_by_side(parts)
        lists = {"INPUTS": self._inputs, "OUTPUTS": self.outputs}
        header = [
            f"#define {macro}(X) " + " ".join(f"X({name})" for name in ports)
            for macro, ports in lists.items()
        ]
        headers = {"ports.h": "\n".join([*header, ""])}
        self._program = compile_program(verilog, TOP, PLAYER, headers)

    def play(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return each output's bytes (cycles, bytes) for inputs of the same kind."""
        records = np.concatenate([inputs[name] for name in self._inputs], axis=1)
        sizes = {name: port_bytes(bits) for name, bits in self._inputs.items()}
        assert {name: inputs[name].shape[1] for name in self._inputs} == sizes
        done = subprocess.run(
            [self._program], input=np.ascontiguousarray(records).tobytes(),
            capture_output=True, check=True,
        )  # fmt: skip
        ends = np.cumsum([0, *(port_bytes(bits) for bits in self.outputs.values())])
        got = np.frombuffer(done.stdout, np.uint8).reshape(len(records), -1)
        return {
            name: got[:, start:end]
            for name, start, end in zip(self.outputs, ends[:-1], ends[1:], strict=True)
        }

"""The floor plan: each folder imports only from those below it, and from few packages."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What of ours each floor may import: prefixes of module names after "celosia.".
SHARED = {"models.errors", "models.files", "models.processes"}
MAY_IMPORT = {
    "models": {"models"},
    "dataflow": {"models", "dataflow"},
    "rtl": {"dataflow", "rtl", "models.formats", "models.network", "models.operations"} | SHARED,
    "sim": {"models", "dataflow", "rtl", "sim"},
    "fpga": {"dataflow", "rtl", "fpga", "models.formats"} | SHARED,
    "scripts": {"models", "dataflow", "rtl", "sim", "fpga", "scripts"},
}

# Packages of others, beside the standard library.
DEMO = {"skimage", "sklearn", "PIL", "facenet_pytorch"}
MAY_USE = {
    "models": {"numpy", "torch", "onnx", "scipy"} | DEMO,
    "models/formats": {"numpy"},
    "dataflow": {"numba", "numpy", "platformdirs"},
    "rtl": {"numpy", "amaranth", "jinja2"},
    "fpga": {"numpy", "amaranth", "filelock"},
    "sim": {"numpy", "amaranth", "filelock", "cocotb", "cocotbext", "cocotb_tools"},
}


def imported(path: Path) -> set[str]:
    """Return full names of what a module imports, ``from a import b`` as ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def sources(folder: str) -> list[Path]:
    paths = sorted((ROOT / folder).rglob("*.py"))
    return [path for path in paths if "typing" not in path.relative_to(ROOT).parts]


def within(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folder_imports_only_downwards(folder):
    for path in sources(folder):
        ours = {n.removeprefix("celosia.") for n in imported(path) if n.startswith("celosia.")}
        extra = {name for name in ours if not within(name, MAY_IMPORT[folder])}
        assert not extra, f"{path.relative_to(ROOT)} may not import {sorted(extra)}"


@pytest.mark.parametrize("folder", MAY_USE)
def test_folder_uses_only_its_packages(folder):
    allowed = MAY_USE[folder] | set(sys.stdlib_module_names) | {"celosia"}
    for path in sources(folder):
        extra = {name.partition(".")[0] for name in imported(path)} - allowed
        assert not extra, f"{path.relative_to(ROOT)} may not import {sorted(extra)}"


def test_formats_import_only_themselves():
    for path in sources("models/formats"):
        ours = {name for name in imported(path) if name.startswith("celosia.")}
        extra = {name for name in ours if not within(name, {"celosia.models.formats"})}
        assert not extra, f"{path.relative_to(ROOT)} may not import {sorted(extra)}"


@pytest.mark.parametrize("folder", ["rtl", "dataflow"])
def test_hardware_never_pulls_torch_in(folder):
    """Importing every module of the floor in a fresh process leaves torch out of it."""
    modules = [
        ".".join(("celosia", *path.relative_to(ROOT).with_suffix("").parts))
        for path in sources(folder)
    ]
    names = [name.removesuffix(".__init__") for name in modules]
    code = f"import sys, importlib\nfor n in {names}: importlib.import_module(n)\n"
    check = subprocess.run(
        [sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=False, cwd="/"
    )
    assert check.returncode == 0


def test_every_package_is_listed():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        "celosia." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in MAY_IMPORT
        for path in sources(folder)
    }
    listed, folders = set(setuptools["packages"]), setuptools["package-dir"]
    assert set(folders) == listed
    assert found <= listed
    # The others hold data: tests/test_packaging.py sees that none is missing.
    for name in listed - found:
        assert any(path.is_file() for path in (ROOT / folders[name]).iterdir()), name

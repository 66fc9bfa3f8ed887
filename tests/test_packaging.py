"""What a user gets: the metadata and the contents of the wheel."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("models", "dataflow", "rtl", "sim", "fpga", "scripts")
# For people who have the checkout: not part of the package.
CHECKOUT_ONLY = {"scripts/quickstart", "scripts/test"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """Names of the files in a wheel that was built from a clean copy of the tracked files."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    for name in tracked():
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-deps", "--no-build-isolation",
         "--wheel-dir", folder, copy],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    # Setuptools' way to say that a folder of data is no package of the list.
    assert "running bdist_wheel" in done.stdout
    assert "would be ignored" not in done.stdout
    (built,) = folder.glob("celosia-*.whl")
    return set(zipfile.ZipFile(built).namelist())


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_wheel_holds_every_file_of_the_floors(wheel):
    wanted = {
        f"celosia/{name}"
        for name in tracked()
        if name.split("/")[0] in FLOORS
        and not name.startswith("scripts/typing/")
        and name not in CHECKOUT_ONLY
    }
    assert wanted == {name for name in wheel if name.startswith("celosia/")}


def test_wheel_holds_nothing_else(wheel):
    assert {name.split("/")[0] for name in wheel} == {"celosia", "celosia-0.1.0.dist-info"}
    assert "celosia-0.1.0.dist-info/licenses/LICENSE" in wheel


def test_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="celosia")
    assert command.value == "celosia.scripts.cli:main"


def test_constraints_name_what_the_project_depends_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = (ROOT / "scripts/constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert "torch" in pinned
    requirements = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["fpga"],
        *project["dependency-groups"]["test"],
        *project["dependency-groups"]["lint"],
    ]
    names = {requirement.split("[")[0].split(">")[0].split("~")[0] for requirement in requirements}
    assert pinned <= names


def test_no_machine_paths_and_no_package_hosts():
    text = {name: (ROOT / name).read_text(errors="replace") for name in tracked()}
    for name, content in text.items():
        for host in ("files.python" + "hosted", "download.py" + "torch", "pypi" + ".org"):
            assert host not in content, f"{name} names a package host"
        for path in ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/"):
            assert path not in content, f"{name} holds a path of one machine"

"""Hashes of what a module's code depends on."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from celosia.scripts.sources import code_digest

Package = Callable[[dict[str, str]], None]


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Returns the digest of ``mine.top`` for the texts of some modules of a package ``mine``."""
    texts = {
        "__init__": "",
        "top": "from mine.inner import below\nfrom other import thing\n",
        "inner/__init__": "x = 1\n",
        "inner/below": "def f():\n    import mine.late\n",
        "late": "y = 1\n",
        "apart": "z = 1\n",
    }
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("celosia.scripts.sources.PACKAGE", "mine")

    def digest(**changed: str) -> str:
        for name, text in (texts | changed).items():
            file = tmp_path / "mine" / f"{name}.py"
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text(text)
        for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
            del sys.modules[name]
        code_digest.cache_clear()
        return code_digest("mine.top")

    return digest


def test_code_counts_wherever_it_is_imported(digest: Callable[..., str]) -> None:
    first = digest()
    assert digest() == first
    for name in ("top", "inner/below", "inner/__init__", "late", "__init__"):
        assert digest(**{name: "import mine.late\nchanged = 2\n"}) != first, name


def test_what_does_not_count(digest: Callable[..., str]) -> None:
    first = digest()
    assert digest(apart="z = 2\n") == first
    assert digest(late='"""Text."""\n\ny = (\n    1  # one\n)\n"""Text."""\n') == first


def test_no_such_module() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"there is no module celosia\.nothing"):
        code_digest("celosia.nothing")


def test_training_does_not_depend_on_hardware() -> None:
    """Changes of the compiler or of the hardware leave trained networks as they are."""
    from celosia.scripts import format_training

    assert not [name for name in vars(format_training) if name in ("rtl", "dataflow")]

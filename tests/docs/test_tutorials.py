"""The Python blocks of the documentation run as they stand, one after the other."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path.relative_to(DOCS) for path in DOCS.rglob("*.md"))
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(page):
    """Return the page's Python blocks as one text with the page's line numbers."""
    lines, inside = [], False
    for line in (DOCS / page).read_text().splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            lines.append("")
        else:
            lines.append(line if inside else "")
    return "\n".join(lines)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p).strip()], ids=str)
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = compile(blocks(page), str(page), "exec")
    exec(code, {"__name__": "tutorial"})
    assert code.co_names


def test_a_format_takes_few_lines():
    code = [line for line in blocks(Path("adding_a_format.md")).splitlines() if line.strip()]
    assert 20 < len(code) < 60


@pytest.mark.parametrize(
    "page", [*PAGES, Path("../README.md"), Path("../CONTRIBUTING.md")], ids=str
)
def test_links_lead_somewhere(page):
    for target in LINK.findall((DOCS / page).read_text()):
        assert ((DOCS / page).parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", [*PAGES, Path("../README.md")], ids=str)
def test_files_that_are_named_exist(page):
    root = DOCS.parent
    named = re.findall(
        r"`((?:models|dataflow|rtl|sim|fpga|scripts|tests|docs)/[\w./]+\.\w+)`",
        (DOCS / page).read_text(),
    )
    for name in named:
        if "eie" not in name:
            assert (root / name).exists(), f"{page} names {name}"

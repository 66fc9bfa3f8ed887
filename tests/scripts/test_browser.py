"""Reports in a real browser: drawn whole, without errors, without a network, on any screen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celosia.scripts.report import read_summary, write_report

from .test_report import network, summary

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")
WIDE, NARROW = 1280, 400


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield opened
        opened.close()


class Opened:
    """A page, and what it said and asked for."""

    def __init__(self, browser: Any, path: Path, width: int) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())

    def column(self, table: int, column: int) -> list[str]:
        cells = f"table.sortable >> nth={table} >> tbody tr:not(.all) td:nth-child({column})"
        return [text.strip() for text in self.page.locator(cells).all_text_contents()]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    row = {"accelerator": "big", "products_per_cycle": 1024, "bit_exact": True}
    rows = [
        {"network": name, **row, "cycles_predicted": n, "cycles_measured": n, "utilisation": share}
        for name, n, share in (("b", 900, 0.5), ("a", 1_200_000, 0.9), ("c", 70, None))
    ]
    found = {}
    for name, value in (("main", summary()), ("run", network(31)), ("bench", rows)):
        (folder / f"{name}.json").write_text(json.dumps(value))
        found[name] = folder / f"{name}.html"
        write_report(read_summary(folder / f"{name}.json"), found[name])
    return found


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize(("name", "charts"), [("main", 13), ("run", 6), ("bench", 1)])
def test_page_is_whole(
    browser: Any, reports: dict[str, Path], name: str, charts: int, width: int
) -> None:
    opened = Opened(browser, reports[name], width)
    assert opened.said == []
    assert opened.asked == [reports[name].as_uri()]
    assert opened.count(".chart") == opened.count(".js-plotly-plot") == charts
    for drawn in opened.page.locator(".js-plotly-plot .main-svg:first-child").all():
        box = drawn.bounding_box()
        assert box is not None
        assert box["width"] > 0.7 * (width if width == NARROW else 1000)
        assert box["height"] > 40
    # Wide tables scroll in boxes of their own, the page itself does not.
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.emulate_media(media="print")
    assert opened.count(".js-plotly-plot .main-svg") >= charts
    assert len(opened.page.screenshot(full_page=True)) > 10_000
    opened.page.close()


def test_tables_are_sorted_by_a_click(browser: Any, reports: dict[str, Path]) -> None:
    opened = Opened(browser, reports["bench"], WIDE)
    assert opened.column(0, 1) == ["b", "a", "c"]
    opened.page.click("th:text('cycles predicted')")
    assert opened.column(0, 5) == ["70", "900", "1,200,000"]
    opened.page.click("th:text('cycles predicted')")
    assert opened.column(0, 5) == ["1,200,000", "900", "70"]
    opened.page.focus("th:text('network')")
    opened.page.keyboard.press("Enter")
    assert opened.column(0, 1) == ["a", "b", "c"]
    assert opened.count("th[aria-sort]") == 1
    run = Opened(browser, reports["run"], WIDE)
    run.page.click("th:text('products') >> nth=-1")
    assert run.page.locator("tr.all td").first.text_content() == "all"
    assert run.column(1, 1) == ["conv1", "conv2"]
    assert run.said == []

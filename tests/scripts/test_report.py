"""The report and its charts."""

import re
from html.parser import HTMLParser

import pytest

from celosia.models.errors import CelosiaError
from celosia.scripts.charts import Bar, Point, bars, flow, frontier, scatter
from celosia.scripts.report import read_summary, render, write_report


def layer(name, predicted, measured):
    return {
        "name": name,
        "cycles_predicted": predicted,
        "cycles_measured": measured,
        "products": 5,
        "utilisation": 0.5,
    }


def summary(measured=30):
    resources = {"lut": 10, "ff": 20, "carry": 1, "dsp": 2, "bram": 1.5}
    exact = measured == 30
    network = {
        "accuracy_float": 1.0,
        "accuracy_integer": 0.995,
        "samples": 200,
        "bit_exact": exact,
        "differences": [] if exact else ["layer 'a<b>': expected 1, got 2"],
        "location": None if exact else "cycle 12",
        "cycles_predicted": 30,
        "cycles_measured": measured,
        "utilisation": 0.25,
        "recipe": "W4A8",
        "accelerator": "tiny",
        "array": "2 columns",
        "memory": {"latency": 40, "bytes_per_cycle": 16, "outstanding": 16},
        "layers": [layer("conv1", 10, 10), layer("conv2", 20, measured - 10)],
        "counters": {"cycles": {"predicted": 30, "measured": measured}},
        "verilog_modules": 50,
        "verilog_bytes": 300_000,
        "lut": 10,
        "synthesis": {
            "tool": "Yosys",
            "part": "part",
            "total": resources,
            "budget": {"lut": 5, "ff": 100, "dsp": 10, "bram": 10},
            "fractions": {"lut": 2.0, "ff": 0.2, "dsp": 0.2, "bram": 0.15},
            "blocks": [{"name": "top", "count": 1, "own": resources, "inclusive": resources}],
        },
        "seconds": {"quantise": 1.5},
    }
    made = {
        "bitstream": "x.bit",
        "accelerator": "ecp5",
        "part": "LFE5U",
        "fmax_mhz": 50.0,
        "clock_mhz": 25.0,
        "used": resources,
        "budget": {"lut": 100, "dsp": 10},
        "tools": ["a", "b"],
    }
    return {"celosia": "0", "holds": exact, "networks": {"rnet": network}, "bitstream": made}


class Balance(HTMLParser):
    """Checks that every element is closed in order."""

    VOID = frozenset({"meta", "rect", "path"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_report_needs_nothing_else(tmp_path):
    write_report(summary(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "Everything asked for holds" in page
    assert page.count("<svg") == 4 + 3 + 3  # one for each workload of the kept table, EIE's


def test_report_shows_what_differs():
    page = render(summary(measured=31), [])
    assert "Something does not hold" in page
    assert "layer &#39;a&lt;b&gt;&#39;: expected 1, got 2" in page
    assert 'class="over"' in page


def test_summary_of_another_version(tmp_path):
    old = summary()
    del old["networks"]["rnet"]["recipe"]
    with pytest.raises(CelosiaError, match="another version"):
        write_report(old, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["fast", {}, None])
def test_summary_with_other_values(tmp_path, value):
    wrong = summary()
    wrong["networks"]["rnet"]["accuracy_float"] = value
    with pytest.raises(CelosiaError, match="another version"):
        write_report(wrong, tmp_path / "report.html")
    wrong["networks"]["rnet"] = value
    with pytest.raises(CelosiaError, match="another version"):
        write_report(wrong, tmp_path / "report.html")


def test_summary_of_endless_brackets(tmp_path):
    (tmp_path / "summary.json").write_text("[" * 100_000)
    with pytest.raises(CelosiaError, match="is damaged"):
        read_summary(tmp_path / "summary.json")


def test_bars_are_in_proportion():
    rows = [
        Bar(label="a", values=(1.0, 2.0), marks=("one", "two"), text="x"),
        Bar(label="<b>", values=(4.0, 0.0), marks=("one", "two"), text="y"),
    ]
    drawn = bars("title", rows)
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="8', drawn)]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01)
    assert widths[2] == pytest.approx(4 * widths[0], rel=0.01)
    assert "&lt;b&gt;" in drawn


def test_flow_has_an_arrow_between_boxes():
    drawn = flow([("a", "1"), ("b", "2"), ("c", "3")])
    assert (drawn.count("<rect"), drawn.count("<path")) == (3, 2)


def test_scatter_places_points_and_names_axes():
    points = [
        Point(label="a<b", x=10.0, y=90.0, spread=4.0),
        Point(label="low", x=0.0, y=80.0),
    ]
    svg = str(scatter("title", points, "across", "up"))
    assert "a&lt;b" in svg
    assert ">across<" in svg
    assert ">up<" in svg
    centres = re.findall(r'cx="([0-9.]+)" cy="([0-9.]+)"', svg)
    (high_x, high_y), (low_x, low_y) = ((float(x), float(y)) for x, y in centres)
    assert high_x > low_x
    assert high_y < low_y
    assert low_x == 60.0


def test_scatter_has_a_top():
    points = [Point(label="", x=1.0, y=99.0, spread=6.0)]
    assert ">105<" not in str(scatter("t", points, "x", "y", most=100.0))
    assert ">102<" in str(scatter("t", points, "x", "y"))


def test_scatter_in_decades():
    points = [
        Point(label=f"{x}", x=x, y=3 - x / 100, hint=f"at {x}", before=True)
        for x in (10.0, 20.0, 40.0, 500.0)
    ]
    svg = str(scatter("title", points, "across", "up", decades=True))
    first, second, third, last = (float(x) for x in re.findall(r'cx="([0-9.]+)"', svg))
    assert first > 60.0
    (label,) = re.findall(r'x="([0-9.]+)" y="[0-9.]+" text-anchor="end" class="small">10.0<', svg)
    assert float(label) == pytest.approx(first - 8, abs=0.2)
    assert third - second == pytest.approx(second - first, abs=0.2)  # twice as much is a step
    assert last < 640
    assert "<title>at 20.0</title>" in svg


def test_frontier():
    def point(x, y):
        return Point(label="", x=x, y=y)

    points = [point(3, 5), point(1, 2), point(2, 1), point(3, 4), point(4, 5)]
    assert frontier(points) == [point(1, 2), point(3, 5)]


@pytest.mark.parametrize("points", [[], [Point(label="one", x=1.0, y=1.0)]])
def test_scatter_of_little(points):
    assert str(scatter("t", points, "x", "y")).count("<circle") == len(points)


def test_report_shows_formats():
    rows = [
        {
            "format": "SP2 W4A4",
            "workload": "digits",
            "qat_mean": 0.99,
            "qat_spread": 0.01,
            "lut_only_per_product": lut,
        }
        for lut in (24.0, None)
    ]
    page = render(summary(), rows)
    assert page.count("SP2 W4A4") == 2  # beside its point and under the pointer

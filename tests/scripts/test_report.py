"""The report and its charts."""

import json
import re
from html.parser import HTMLParser

import plotly.graph_objects as graph_objects
import pytest

from celosia.models.errors import CelosiaError
from celosia.scripts.charts import Axes, Bar, Point, Series, bars, frontier, lines, scatter, stacked
from celosia.scripts.report import read_summary, render, write_report
from celosia.scripts.report_network import charts


def layer(name, predicted, measured):
    return {
        "name": name,
        "cycles_predicted": predicted,
        "cycles_measured": measured,
        "products": 50,
        "utilisation": 0.5,
        "ideal": 4,
        "stalls": {"none": 5, "bandwidth": predicted - 5},
        "bytes": {"weights": 64, "activations": 32},
        "bound": "the memory's bandwidth",
    }


def network(measured=30):
    exact = measured == 30
    return {
        "network": "rnet",
        "accuracy_float": 1.0,
        "accuracy_integer": 0.995,
        "samples": 200,
        "weights": "random",
        "bit_exact": exact,
        "differences": [] if exact else ["layer 'a<b>': expected 1, got 2"],
        "location": None if exact else "cycle 12",
        "cycles_predicted": 30,
        "cycles_measured": measured,
        "utilisation": 0.25,
        "products_per_cycle": 16,
        "recipe": "W4A8",
        "accelerator": "tiny",
        "array": "2 columns",
        "memory": {"latency": 40, "bytes_per_cycle": 16, "outstanding": 16},
        "layers": [layer("conv1", 10, 10), layer("conv2", 20, measured - 10)],
        "counters": {"cycles": {"predicted": 30, "measured": measured}},
        "traffic": {"weights": 128, "activations": 64, "constants": 0},
        "activity": {unit: [0.0, 0.5, 1.0] for unit in ("load", "compute", "post", "store")},
        "columns": [
            {"format": "sp2_4", "count": 2, "operation": "multiply", "circuit": "lanes"}
        ],
        "timeline": "timeline.json.gz",
        "seconds": {"quantise": 1.5},
    }  # fmt: skip


def summary(measured=30):
    resources = {"lut": 10, "ff": 20, "carry": 1, "dsp": 2, "bram": 1.5}
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
    synthesis = {
        "tool": "Yosys",
        "part": "part",
        "total": resources,
        "budget": {"lut": 5, "ff": 100, "dsp": 10, "bram": 10},
        "blocks": [{"name": "top", "count": 1, "own": resources, "inclusive": resources}],
    }
    found = {**network(measured), "verilog_modules": 50, "synthesis": synthesis}
    return {
        "celosia": "0",
        "holds": measured == 30,
        "networks": {"rnet": found},
        "bitstream": made,
    }


class Balance(HTMLParser):
    """Checks that every element is closed in order, and collects what is loaded from outside."""

    VOID = frozenset({"meta", "link"})

    def __init__(self):
        super().__init__()
        self.open = []
        self.outside = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and not re.match(r"#|data:,$|timeline", value):
                self.outside.append(value)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_report_needs_nothing_else(tmp_path):
    write_report(summary(), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.outside == []
    assert "Everything asked for holds" in page
    # Seven of the network, one for each workload of the kept table, EIE's three.
    assert page.count('class="chart"') == 7 + 3 + 3
    assert page.count("plotly.js v") == 1
    write_report(summary(), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page


def test_report_shows_what_differs():
    page = render(summary(measured=31), [])
    assert "Something does not hold" in page
    assert "layer &#39;a&lt;b&gt;&#39;: expected 1, got 2" in page
    assert "20 predicted, 21" in page
    assert page.count("NOT exact") == 2


def test_parts_that_are_missing_are_left_out():
    """Each key alone, and all of them: what is not there is not shown, and nothing breaks."""
    whole = summary()["networks"]["rnet"]
    for name in whole:
        left = {key: value for key, value in whole.items() if key != name}
        render({"holds": None, "networks": {"n": left}}, [])
    page = render({"holds": None, "networks": {"n": {}}}, [])
    assert "not checked" in page
    assert 'class="chart"' not in page


@pytest.mark.parametrize("value", ["fast", {}, None, [], True])
def test_values_of_other_kinds_break_nothing(value):
    whole = summary()["networks"]["rnet"]
    for name in ("accuracy_float", "cycles_measured", "memory", "activity", "traffic", "synthesis"):
        page = render({"holds": True, "networks": {"n": {**whole, name: value}}}, [])
        assert "Layers" in page
    for name in ("cycles_measured", "ideal", "stalls", "bytes", "utilisation", "products"):
        rows = [{**layer("conv1", 10, 10), name: value}]
        assert "conv1" in render({"holds": True, "networks": {"n": {**whole, "layers": rows}}}, [])


def test_summaries_of_all_kinds(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(network()))
    found = read_summary(tmp_path)  # the folder of a simulation
    assert found["holds"] is True
    assert list(found["networks"]) == ["rnet"]
    assert "bitstream" not in render(found, []).lower().split("</script>")[-2]
    row = {
        "network": "resnet18", "accelerator": "big", "products_per_cycle": 1024,
        "cycles_predicted": 7, "cycles_measured": 7, "utilisation": 0.91, "bit_exact": True,
        "sim_seconds": 1.5, "build_seconds": 30, "weights": "random",
    }  # fmt: skip
    path.write_text(json.dumps([row, {**row, "network": "digits", "cycles_measured": 8}]))
    found = read_summary(path)
    assert found["holds"] is False
    page = render(found, [])
    assert "91.0 %" in page
    assert "resnet18 on big" in page
    slow = {
        "layer": "dense", "cycles": 12, "utilisation": 0.1, "bound": "bandwidth (9 of 12 cycles)",
        "stalls": {"bandwidth": 9},
    }  # fmt: skip
    path.write_text(json.dumps([{**row, "layers": [slow]}, {**row, "layers": []}]))
    found = read_summary(path)
    assert list(found["networks"]) == ["resnet18 on big"]
    page = render(found, [])
    assert "Layers that use little of the array" in page
    assert "<td>dense</td>" in page
    assert "bandwidth (9 of 12 cycles)" in page
    for wrong in ("{}", "[]", "3", '[{"a": 1}]', '{"networks": {"n": 1}}', '"x"'):
        path.write_text(wrong)
        with pytest.raises(CelosiaError, match=r"is no (summary of a run|table of networks)"):
            read_summary(path)
    with pytest.raises(CelosiaError, match="cannot read"):
        read_summary(tmp_path / "no.json")


def test_summary_of_endless_brackets(tmp_path):
    (tmp_path / "summary.json").write_text("[" * 100_000)
    with pytest.raises(CelosiaError, match="is damaged"):
        read_summary(tmp_path / "summary.json")


def traces(chart):
    """Return the data and the layout that a chart gives Plotly."""
    text = re.search(r"Plotly\.newPlot\(\s*\"chart-\w+\",\s*(.*)\)", str(chart), re.S)[1]
    decoder = json.JSONDecoder()
    data, end = decoder.raw_decode(text)
    layout, _ = decoder.raw_decode(text[end:].lstrip(", \n"))
    graph_objects.Figure(data, layout)  # raises where Plotly knows no such thing
    return data, layout


def test_bars_say_what_they_are():
    rows = [
        Bar(label="a", values=(1.0, 2.0), marks=("one", "two"), text="x"),
        Bar(label="<b>", values=(4.0, 0.0), marks=("one", "two"), text="</script>"),
    ]
    drawn = bars('the "title"', rows, names=("first", "second"))
    assert str(drawn).count("</script>") == 1
    assert "the &#34;title&#34;" in drawn
    assert ">first</span>" in drawn
    (first, second), layout = traces(drawn)
    assert first["x"] == [1.0, 4.0]
    assert second["x"] == [2.0, 0.0]
    assert layout["yaxis"]["ticktext"] == ["a", "&lt;b&gt;"]


def test_stacked_and_lines():
    parts = [Series(name="p", values=(1.0, 2.0), mark="one")]
    data, layout = traces(stacked("t", ["a" * 40, "b"], parts, "cycles"))
    assert data[0]["x"] == [1.0, 2.0]
    assert len(layout["yaxis"]["ticktext"][0]) == 24
    data, _ = traces(lines("t", [0.5, 1.5], parts, "cycles"))
    assert data[0]["y"] == [100.0, 200.0]


def test_scatter_of_points_and_roofs():
    points = [
        Point(label="", x=10.0, y=99.0, spread=6.0),
        Point(label="low", x=1.0, y=80.0, hint="far", before=True),
    ]
    axes = Axes(across="x", up="y", decades=True, most=100.0, roofs={"roof": ([1, 2], [3, 4])})
    (roof, found), layout = traces(scatter("t", points, axes))
    assert roof["y"] == [3, 4]
    assert found["error_y"]["array"] == [1.0, 0.0]
    assert found["error_y"]["arrayminus"] == [3.0, 0.0]
    assert found["hovertext"] == ["", "far"]
    assert layout["xaxis"]["type"] == "log"
    assert layout["xaxis"]["range"][0] < 0 < 1 < layout["xaxis"]["range"][1]
    assert layout["yaxis"]["type"] == "linear"
    for few in ([], points[:1]):
        assert 'class="chart"' in scatter("t", few, axes)


def test_frontier():
    def point(x, y):
        return Point(label="", x=x, y=y)

    points = [point(3, 5), point(1, 2), point(2, 1), point(3, 4), point(4, 5)]
    assert frontier(points) == [point(1, 2), point(3, 5)]


def test_roofline_is_that_of_the_accelerator():
    drawn = charts("n", network())["roofline"]
    (flat, slope, points), _ = traces(drawn)
    assert set(flat["y"]) == {16}
    assert slope["x"][-1] == 1.0  # 16 products and 16 bytes a cycle
    assert points["x"] == [50 / 96] * 2
    assert points["y"] == [5.0, 2.5]


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

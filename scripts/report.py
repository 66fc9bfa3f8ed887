"""The report of a run as one HTML page that needs nothing else."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file
from celosia.scripts.charts import Bar, bars, flow

RESOURCES = ("lut", "ff", "dsp", "bram")


def read_summary(path: str | Path) -> dict[str, Any]:
    """Return the summary that a quickstart run wrote.

    Raises
    ------
    CelosiaError
        When the file is missing or no such summary.
    """
    try:
        summary = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CelosiaError(
            f"cannot read {path}: {error.strerror or error}. 'celosia quickstart' writes it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise CelosiaError(f"{path} is damaged: {error}. Run 'celosia quickstart' again") from error
    if not isinstance(summary, dict) or not isinstance(summary.get("networks"), dict):
        raise CelosiaError(f"{path} is no summary of a quickstart run: it has no networks")
    return summary


def write_report(summary: dict[str, Any], path: str | Path) -> None:
    """Write the report of ``summary`` to ``path``.

    Raises
    ------
    CelosiaError
        When the summary lacks something that the report shows.
    OSError
        When the file cannot be written.
    """
    try:
        page = render(summary)
    except (jinja2.UndefinedError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CelosiaError(
            f"the summary is of another version of Celosia ({error}): run the quickstart again"
        ) from error
    with atomic_file(path) as draft:
        draft.write_text(page, encoding="utf-8")


def render(summary: dict[str, Any]) -> str:
    """Return the report's HTML."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("celosia.scripts").joinpath("report.html").read_text(encoding="utf-8")
    )
    networks = summary["networks"]
    return template.render(
        summary=summary,
        flows={name: _flow(net) for name, net in networks.items()},
        cycles={name: _cycles(net) for name, net in networks.items()},
        uses={name: _uses(net) for name, net in networks.items()},
        resources={name: _resources(net) for name, net in networks.items()},
    )


def _flow(net: dict[str, Any]) -> Markup:
    return flow(
        (
            ("float network", f"accuracy {net['accuracy_float']:.4f}"),
            ("quantised", f"accuracy {net['accuracy_integer']:.4f}"),
            ("compiled", f"{net['cycles_predicted']:,} cycles"),
            ("Verilog", f"{net['verilog_modules']} modules"),
            ("simulated", f"{net['samples']} samples"),
            ("synthesised", f"{net['lut']:,} LUT"),
        )
    )


def _cycles(net: dict[str, Any]) -> Markup:
    rows = [
        Bar(
            label=layer["name"],
            values=(layer["cycles_predicted"], layer["cycles_measured"]),
            marks=("two", "one"),
            text=f"{layer['cycles_predicted']:,} / {layer['cycles_measured']:,}",
        )
        for layer in net["layers"]
    ]
    return bars("cycles of each layer, predicted and measured", rows)


def _uses(net: dict[str, Any]) -> Markup:
    rows = [
        Bar(
            label=layer["name"],
            values=(layer["utilisation"],),
            marks=("two",),
            text=f"{100 * layer['utilisation']:.1f} %",
        )
        for layer in net["layers"]
    ]
    return bars("use of the array in each layer", rows, most=1.0)


def _resources(net: dict[str, Any]) -> Markup:
    synthesis = net["synthesis"]
    rows = []
    for kind in RESOURCES:
        share = synthesis["fractions"][kind]
        used, budget = synthesis["total"][kind], synthesis["budget"][kind]
        rows.append(
            Bar(
                label=kind,
                values=(min(share, 1.0),),
                marks=("over" if share > 1 else "two",),
                text=f"{used:,} of {budget:,} ({100 * share:.1f} %)",
            )
        )
    return bars("resources against the device's budget", rows, most=1.0)

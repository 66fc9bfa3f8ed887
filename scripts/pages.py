"""Pages: one HTML file each, that needs no network, and shows "-" for what a run did not tell."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Any, Final

import jinja2

from celosia.scripts.charts import script

MISSING: Final = "-"


def number(value: Any) -> float | None:
    """Return ``value`` where it is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def _count(value: Any) -> str:
    found = number(value)
    if found is None:
        return MISSING
    return f"{found:,}" if found == int(found) else f"{found:,.1f}"


def _percent(value: Any) -> str:
    found = number(value)
    return MISSING if found is None else f"{100 * found:.1f} %"


def _fixed(value: Any, digits: int = 2) -> str:
    found = number(value)
    return MISSING if found is None else f"{found:,.{digits}f}"


def _said(value: Any) -> str:
    """Return "yes" or "no" for a truth value."""
    return {True: "yes", False: "no"}.get(value, MISSING) if isinstance(value, bool) else MISSING


@functools.cache
def _environment() -> jinja2.Environment:
    folder = files("celosia.scripts")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: folder.joinpath(name).read_text(encoding="utf-8")
        ),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count, "percent": _percent, "fixed": _fixed, "said": _said,
    }  # fmt: skip
    return environment


def render_page(template: str, **values: Any) -> str:
    """Return the page that ``template``, a file of this folder, makes of ``values``.

    Values that are missing in the template's paths are shown as "-" by the filters ``count``,
    ``percent``, ``fixed`` and ``said``.
    """
    return _environment().get_template(template).render(plotly=script(), **values)

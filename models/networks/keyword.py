"""Keyword networks of a package, quantised by others: read as they are, with trained weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from celosia.models.errors import CelosiaError
from celosia.models.network import Network
from celosia.models.tflite_import.importer import import_tflite

PACKAGE: Final = "pymicro-wakeword"
"""Distribution that holds streaming networks of 8-bit integers (Apache 2.0); none of its code is
imported."""

_MODULE: Final = "pymicro_wakeword"

KEYWORDS: Final = ("okay_nabu", "alexa", "hey_jarvis", "hey_mycroft")
"""What each network listens for."""


def keyword(name: str) -> Network:
    """Return the integer network called ``name``, one of :data:`KEYWORDS`.

    Its input is the window of frames that one score depends on.

    Raises
    ------
    CelosiaError
        If there is no such network, or the package is not installed.
    """
    if name not in KEYWORDS:
        raise CelosiaError(
            f"no keyword network is called {name!r}: known are {', '.join(KEYWORDS)}"
        )
    spec = importlib.util.find_spec(_MODULE)
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent / "models"
    if folder is None or not (folder / f"{name}.tflite").is_file():
        raise CelosiaError(
            f"keyword network {name!r} is missing: install it with `pip install {PACKAGE}==2.5.0`"
        )
    return import_tflite(folder / f"{name}.tflite").network

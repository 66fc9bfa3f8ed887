"""The same architecture, layer and mapping as files of other tools."""

from __future__ import annotations

import enum
from collections.abc import Callable

from celosia.dataflow.hierarchy.architecture import Architecture
from celosia.dataflow.hierarchy.export_accelforge import accelforge_files
from celosia.dataflow.hierarchy.export_scalesim import scalesim_files
from celosia.dataflow.hierarchy.export_timeloop import timeloop_files
from celosia.dataflow.hierarchy.export_zigzag import zigzag_files
from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.mapping import Mapping


class Tool(enum.Enum):
    """The tools that files can be written for."""

    TIMELOOP = "timeloop"
    ZIGZAG = "zigzag"
    SCALESIM = "scalesim"
    ACCELFORGE = "accelforge"


_WRITERS: dict[Tool, Callable[[Architecture, Layer, Mapping], dict[str, str]]] = {
    Tool.TIMELOOP: timeloop_files,
    Tool.ZIGZAG: zigzag_files,
    Tool.SCALESIM: scalesim_files,
    Tool.ACCELFORGE: accelforge_files,
}


def export(
    architecture: Architecture, layer: Layer, mapping: Mapping, tool: Tool
) -> dict[str, str]:
    """Return the texts of a tool's input files by their names.

    Words are 8 bits.

    Raises
    ------
    CelosiaError
        If the tool cannot say what the architecture or the mapping is; it names what.
    """
    return _WRITERS[tool](architecture, layer, mapping.trimmed(layer))

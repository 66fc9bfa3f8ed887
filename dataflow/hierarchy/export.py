"""The same architecture, layer and mapping as files of other tools."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

from celosia.dataflow.hierarchy.architecture import Architecture, Factors
from celosia.dataflow.hierarchy.export_accelforge import accelforge_files
from celosia.dataflow.hierarchy.export_scalesim import scalesim_files
from celosia.dataflow.hierarchy.export_timeloop import timeloop_files
from celosia.dataflow.hierarchy.export_zigzag import zigzag_files
from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.mapping import Mapping
from celosia.dataflow.hierarchy.skeleton import Skeleton
from celosia.dataflow.hierarchy.together import together_classes


class Tool(enum.Enum):
    """The tools that files can be written for."""

    TIMELOOP = "timeloop"
    ZIGZAG = "zigzag"
    SCALESIM = "scalesim"
    ACCELFORGE = "accelforge"

    @property
    def factors(self) -> Factors | None:
        """The tiles that it takes: divisors alone, but for SCALE-Sim, which takes none."""
        return None if self is Tool.SCALESIM else Factors.PERFECT

    def classes(self, architecture: Architecture, layer: Layer) -> Sequence[Skeleton] | None:
        """Return the classes of mappings that can be written for it; None: all are."""
        return together_classes(architecture, layer) if self is Tool.TIMELOOP else None


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

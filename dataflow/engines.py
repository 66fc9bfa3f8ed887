"""The kinds of engines: what is written once for each, and asked for by description.

:mod:`celosia.rtl.core` has the same table of hardware.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celosia.dataflow import compile as dense
from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accelerator_file import dump_accelerator, parse_accelerator
from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.accelerator_file import ENGINE, dump_eie, parse_eie
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.presets import EIE_PRESETS
from celosia.dataflow.eie.program import EieCounter
from celosia.dataflow.eie.timing import eie_cycle_bound, eie_timing
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.presets import PRESETS
from celosia.dataflow.program import BaseProgram, Counter
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.accelerator_file import SPARCH_ENGINE, dump_sparch, parse_sparch
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.presets import SPARCH_PRESETS
from celosia.dataflow.timing import Timing, cycle_bound, timing
from celosia.dataflow.toml_tables import parse_toml, read_text
from celosia.models.errors import CelosiaError
from celosia.models.network import Network

Description = Accelerator | EieAccelerator | SparchAccelerator
"""A description of any kind of engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkKind:
    """How a kind of engine runs networks.

    ``compile`` returns a program of a network; ``predict`` the timing of a program with a memory,
    for the activations of one sample by tensor where it ``depends_on_data``; ``bound`` more cycles
    than a program takes with any data.
    """

    compile: Callable[[Network, Any], BaseProgram]
    predict: Callable[[Any, MemoryModel, Mapping[str, np.ndarray]], Timing]
    depends_on_data: bool
    bound: Callable[[Any, MemoryModel], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """A kind of engine.

    ``dump`` returns the TOML text of a description; ``networks`` is None of an engine that runs
    none; ``counters`` are the engine's.
    """

    dump: Callable[[Any], str]
    networks: NetworkKind | None
    counters: type[enum.IntEnum]


KINDS: dict[type, EngineKind] = {
    Accelerator: EngineKind(
        dump=dump_accelerator,
        networks=NetworkKind(
            compile=dense.compile_network,
            predict=lambda program, memory, _: timing(program, memory),
            depends_on_data=False,
            bound=cycle_bound,
        ),
        counters=Counter,
    ),
    EieAccelerator: EngineKind(
        dump=dump_eie,
        networks=NetworkKind(
            compile=compile_eie, predict=eie_timing, depends_on_data=True, bound=eie_cycle_bound
        ),
        counters=EieCounter,
    ),
    SparchAccelerator: EngineKind(dump=dump_sparch, networks=None, counters=SparchCounter),
}
"""Each kind of engine by the type of its description."""

ALL_PRESETS: dict[str, Description] = {**PRESETS, **EIE_PRESETS, **SPARCH_PRESETS}
"""Ready-made engines of all kinds, by name."""


def kind_of(accelerator: object) -> EngineKind:
    """Return the kind of engine that ``accelerator`` describes."""
    return KINDS[type(accelerator)]


def network_kind(accelerator: Any) -> NetworkKind:
    """Return how ``accelerator`` runs networks; :class:`CelosiaError` if it runs none."""
    networks = kind_of(accelerator).networks
    if networks is None:
        raise CelosiaError(
            f"{accelerator.name} multiplies sparse matrices and runs no networks: take a dense or "
            "an EIE engine"
        )
    return networks


def dump_engine(accelerator: Description) -> str:
    """Return the TOML text of ``accelerator``."""
    return kind_of(accelerator).dump(accelerator)


def fingerprint(accelerator: Description) -> str:
    """Return the SHA-256 of the accelerator's file form, 64 hexadecimal digits."""
    return hashlib.sha256(dump_engine(accelerator).encode()).hexdigest()


def load_engine(path: str | Path) -> Description:
    """Read an engine of any kind from a TOML file; its key ``engine`` says which, none: dense.

    Raises :class:`CelosiaError` naming the file and the key.
    """
    text, where = read_text(path, "accelerator file"), str(path)
    table = parse_toml(text, where)
    if "engine" not in table:
        return parse_accelerator(text, where)
    if table["engine"] == SPARCH_ENGINE:
        return parse_sparch(table, where)
    if table["engine"] != ENGINE:
        raise CelosiaError(
            f"{where}: engine must be {ENGINE!r}, {SPARCH_ENGINE!r}, or left out for the dense "
            f"engine, not {table['engine']!r}"
        )
    return parse_eie(table, where)

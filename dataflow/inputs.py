"""What a program may be given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from celosia.dataflow.layout import Placement
from celosia.models.errors import CelosiaError


class Runs(Protocol):
    """What says which inputs there are: a program, or what a board is given of one."""

    @property
    def network(self) -> str:
        """The network's name."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs."""
        ...

    @property
    def samples(self) -> int:
        """Samples that one start runs."""
        ...

    def placement(self, name: str, /) -> Placement:
        """Return where tensor ``name`` lies."""
        ...


def check_inputs(program: Runs, inputs: Mapping[str, np.ndarray]) -> int:
    """Return the number of samples in ``inputs``; refuse what does not fit ``program``."""
    if not isinstance(inputs, Mapping):
        raise CelosiaError(
            f"network {program.network!r} takes its inputs by name, "
            f"{', '.join(program.inputs)}, not {type(inputs).__name__}"
        )
    if set(inputs) != set(program.inputs):
        raise CelosiaError(
            f"network {program.network!r} has the inputs {', '.join(program.inputs)}, "
            f"not {', '.join(sorted(map(str, inputs))) or 'none'}"
        )
    counts = set()
    for name in program.inputs:
        placement, codes = program.placement(name), np.asarray(inputs[name])
        if codes.ndim != 4 or codes.shape[1:] != placement.shape:
            shape = ", ".join(map(str, placement.shape))
            raise CelosiaError(f"input {name!r} must have shape (N, {shape}), not {codes.shape}")
        if not len(codes):
            raise CelosiaError(f"input {name!r} holds no sample: give at least one")
        low, high = placement.format.low, placement.format.high
        if codes.dtype.kind not in "iu":
            raise CelosiaError(
                f"input {name!r} must hold codes, integers from {low} to {high}, not "
                f"{codes.dtype}: quantise real values first"
            )
        if codes.min() < low or codes.max() > high:
            raise CelosiaError(
                f"input {name!r} must hold integers from {low} to {high}, not {codes.min()} to "
                f"{codes.max()}"
            )
        counts.add(len(codes))
    if len(counts) != 1:
        raise CelosiaError(f"inputs have different numbers of samples: {sorted(counts)}")
    samples = counts.pop()
    if samples % program.samples:
        raise CelosiaError(
            f"{samples} samples are no multiple of the {program.samples} that one start of the "
            f"program of network {program.network!r} runs: add or leave out some"
        )
    return samples

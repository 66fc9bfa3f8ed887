"""The words that a program keeps on chip, as what is known of their tensors says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.interpret_buffers import Buffers
from celosia.dataflow.made import word_made
from celosia.dataflow.program import Program
from celosia.dataflow.provenance import Memory, Write


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptWord:
    """A word of activations that a keep writes: ``codes`` and codes of ``scales`` of its lanes.

    ``used`` are the lanes that hold a channel; the others hold anything.
    """

    codes: np.ndarray
    scales: np.ndarray
    used: np.ndarray

    def put(self, buffers: Buffers, write: Write) -> None:
        """Put the word where ``write`` does."""
        place = write.place
        buffers.activations[place.pixel, place.address] = self.codes
        buffers.activation_scales[place.pixel, place.address] = self.scales


def is_keep(write: Write) -> bool:
    """Return whether ``write`` is that of a keep."""
    return write.place.memory is Memory.ACTIVATIONS and write.sources[0].memory is Memory.OUTPUTS


def kept_word(
    program: Program, write: Write, tensors: Mapping[str, np.ndarray], first: int
) -> KeptWord | None:
    """Return the word that the keep of ``write`` must write; None where nobody knows it.

    ``tensors`` are the codes of known tensors, (N, C, H, W), ``first`` the first sample of the
    start.
    """
    found = word_made(program, write.sources[0].address, write.descriptor)
    if found is None or found[0].tensor not in tensors:
        return None
    made, word, y, x = found
    array, sample = program.accelerator.array, first + made.sample
    codes, used = np.zeros(array.lanes, np.int64), np.zeros(array.lanes, bool)
    scales = np.zeros(array.vectors if array.activation_scale_bits else 0, np.int64)
    for placement in program.placements:
        if placement.name not in (made.tensor, f"{made.tensor}/scales"):
            continue
        channels = np.flatnonzero(placement.words == word)
        values = placement.encode(tensors[placement.name][sample, channels, y, x])
        lanes = placement.lanes[channels]
        if placement.name == made.tensor:
            codes[lanes], used[lanes] = values, True
        else:
            scales[lanes] = values
    return KeptWord(codes=codes, scales=scales, used=used)

"""From what is written on a command line to values."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TypeVar

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accelerator_file import load_accelerator
from celosia.dataflow.memory import PRESETS as MEMORIES
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.presets import PRESETS, preset
from celosia.models.errors import CelosiaError
from celosia.models.network import Network
from celosia.models.quantize import quantise_input
from celosia.models.recipe import Share, msq, parse_mix

Choice = TypeVar("Choice", bound=enum.Enum)


def read_accelerator(name: str) -> Accelerator:
    """Return the accelerator of a TOML file, or a preset where no such file is there."""
    if name in PRESETS and not Path(name).exists():
        return preset(name)
    if not Path(name).exists():
        raise CelosiaError(
            f"there is no accelerator file {name}, and no preset of that name: presets are "
            f"{', '.join(PRESETS)}"
        )
    return load_accelerator(name)


def read_memory(text: str) -> MemoryModel:
    """Return a memory model by its preset's name or as ``latency,bytes-per-cycle,outstanding``."""
    if text in MEMORIES:
        return MEMORIES[text]
    try:
        latency, rate, outstanding = (int(part) for part in text.split(","))
        return MemoryModel(latency=latency, bytes_per_cycle=rate, outstanding=outstanding)
    except ValueError as error:
        raise CelosiaError(
            f"memory {text!r} is not understood ({error}): write latency,bytes-per-cycle,"
            f"outstanding, such as 40,16,16, or one of {', '.join(MEMORIES)}"
        ) from error


def read_array(path: Path) -> np.ndarray:
    """Return the array of a ``.npy`` file; nothing in it is run."""
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise CelosiaError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise CelosiaError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iufb":
        raise CelosiaError(f"{path} must hold one array of numbers, written with numpy.save")
    return array


def read_calibration(path: Path) -> np.ndarray:
    """Return calibration inputs, numbers (N, C, H, W)."""
    array = read_array(path)
    if array.ndim != 4 or not len(array):
        raise CelosiaError(
            f"{path}: calibration inputs have the shape (N, C, H, W), not {array.shape}"
        )
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def read_choice(option: str, text: str, choices: type[Choice]) -> Choice:
    """Return the member of an enumeration that has the value ``text``."""
    for choice in choices:
        if choice.value == text:
            return choice
    known = ", ".join(str(choice.value) for choice in choices)
    raise CelosiaError(f"{option} {text!r} is unknown: choose {known}")


def read_weights(
    mix: str | None, weight_bits: int | None, sp2_ratio: float | None
) -> tuple[Share, ...]:
    """Return the mix of formats that options say, ``mix`` or the simple ones.

    Raises
    ------
    CelosiaError
        If both ways are used, or what is written is wrong.
    """
    try:
        if mix is None:
            return msq(
                4 if weight_bits is None else weight_bits, 0.6 if sp2_ratio is None else sp2_ratio
            )
        if weight_bits is not None or sp2_ratio is not None:
            raise ValueError(
                "give either the mix (--weights) or --weight-bits and --sp2-ratio, not both"
            )
        return parse_mix(mix)
    except ValueError as error:
        raise CelosiaError(str(error)) from error


def input_codes(network: Network, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the input's codes by name: real ``values`` are quantised, integers taken as codes.

    Raises
    ------
    CelosiaError
        If the network has several inputs, or the shape or a code does not fit its input.
    """
    if len(network.inputs) != 1:
        raise CelosiaError(
            f"network {network.name!r} has the inputs {', '.join(network.inputs)}: give those of "
            "more than one to celosia.sim.run from Python"
        )
    (name,) = network.inputs
    tensor = network.tensor(name)
    if values.ndim == 3 and values.shape == tensor.shape:
        values = values[None]
    if values.dtype.kind == "f":
        return {name: quantise_input(network, values, name)}
    if values.shape[1:] != tensor.shape or not len(values):
        raise CelosiaError(
            f"input {name!r} has the shape (N, {', '.join(map(str, tensor.shape))}), "
            f"not {values.shape}"
        )
    # As Python's integers: a cast would wrap large unsigned ones round.
    low, high = int(values.min()), int(values.max())
    if low < tensor.format.low or high > tensor.format.high:
        raise CelosiaError(
            f"input {name!r} takes codes {tensor.format.low} to {tensor.format.high}, not "
            f"{low} to {high}: real values must be of a float type"
        )
    return {name: values.astype(np.int64)}

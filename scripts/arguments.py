"""From what is written on a command line to values."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.engines import ALL_PRESETS, Description, load_engine
from celosia.dataflow.memory import PRESETS as MEMORIES
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file
from celosia.models.inputs import quantise_input
from celosia.models.network import Network

if TYPE_CHECKING:
    from celosia.models.recipe import Share

Choice = TypeVar("Choice", bound=enum.Enum)

Arrays = np.ndarray | dict[str, np.ndarray]
"""What a file of inputs holds: one array without a name, or arrays by the inputs' names."""


def read_engine(name: str) -> Description:
    """Return the engine of a TOML file, of any kind, or a preset where no such file is there."""
    if not name:
        raise CelosiaError(f"name an accelerator file, or a preset: {', '.join(ALL_PRESETS)}")
    path = Path(name)
    if name in ALL_PRESETS and not path.is_file():  # a folder may have a preset's name
        return ALL_PRESETS[name]
    if not path.exists():
        raise CelosiaError(
            f"there is no accelerator file {name}, and no preset of that name: presets are "
            f"{', '.join(ALL_PRESETS)}"
        )
    return load_engine(name)


def read_accelerator(name: str) -> Accelerator:
    """Return a dense engine as :func:`read_engine` does; other kinds are refused."""
    found = read_engine(name)
    if not isinstance(found, Accelerator):
        raise CelosiaError(f"{name} is no dense engine, which this command is for")
    return found


def read_sparch(name: str) -> SparchAccelerator:
    """Return a SpArch engine as :func:`read_engine` does; other kinds are refused."""
    found = read_engine(name)
    if not isinstance(found, SparchAccelerator):
        raise CelosiaError(f"{name} is no SpArch engine, which this command is for")
    return found


def read_memory(text: str) -> MemoryModel:
    """Return a memory model by its preset's name or as ``latency,bytes-per-cycle,outstanding``."""
    if text in MEMORIES:
        return MEMORIES[text]
    try:
        parts = text.split(",")
        if len(parts) != 3:
            raise ValueError(f"three numbers, not {len(parts)}")
        latency, rate, outstanding = map(int, parts)
        return MemoryModel(latency=latency, bytes_per_cycle=rate, outstanding=outstanding)
    except ValueError as error:
        raise CelosiaError(
            f"memory {text!r} is not understood ({error}): write latency,bytes-per-cycle,"
            f"outstanding, such as 40,16,16, or one of {', '.join(MEMORIES)}"
        ) from error


def read_window(text: str) -> tuple[int, int]:
    """Return the first and the last cycle of ``BEGIN:END``."""
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal()) or int(first) > int(last):
        raise CelosiaError(
            f"--trace-window {text!r} is not understood: write BEGIN:END, two cycles of the "
            "engine's counter, such as 1000:2000"
        )
    return int(first), int(last)


def read_arrays(path: Path) -> Arrays:
    """Return the array of a ``.npy`` file, or those of a ``.npz`` file by name.

    Nothing in the file is run. Truth values come as 0 and 1.

    Raises
    ------
    CelosiaError
        If the file cannot be read, is damaged, or holds anything but numbers.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            found = {"": loaded}
        else:
            with loaded:
                found = {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise CelosiaError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError:
        raise
    except Exception as error:  # of the parsers of headers and archives: of any kind
        # numpy's own message tells to load it unsafely.
        raise CelosiaError(
            f"{path} is no .npy or .npz file of numbers, or is damaged: write it again with "
            "numpy.save or numpy.savez"
        ) from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "iufb":
            raise CelosiaError(
                f"{path}{f', array {name!r},' if name else ''} must hold numbers alone, written "
                "with numpy.save or numpy.savez"
            )
    plain = {
        name: array.astype(np.uint8) if array.dtype.kind == "b" else array
        for name, array in found.items()
    }
    return plain[""] if isinstance(loaded, np.ndarray) else plain


def read_calibration(path: Path) -> Arrays:
    """Return calibration inputs, numbers (N, C, H, W); of a ``.npz`` file by input name."""
    arrays = read_arrays(path)
    for array in arrays.values() if isinstance(arrays, dict) else (arrays,):
        if array.ndim != 4 or not len(array):
            raise CelosiaError(
                f"{path}: calibration inputs have the shape (N, C, H, W), not {array.shape}"
            )
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write integer ``arrays`` to a ``.npz`` file, by name, as int64."""
    with atomic_file(path) as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **{k: v.astype(np.int64) for k, v in arrays.items()})


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
    from celosia.models.recipe import msq, parse_mix

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


def by_name(arrays: Arrays, names: Iterable[str], what: str) -> dict[str, np.ndarray]:
    """Return one array for each of the inputs ``names`` of ``what``.

    Raises :class:`CelosiaError` when the inputs that ``arrays`` is for are others.
    """
    wanted = list(names)
    if not isinstance(arrays, dict):
        if len(wanted) == 1:
            return {wanted[0]: arrays}
        found = "one array without a name"
    elif set(arrays) == set(wanted):
        return {name: arrays[name] for name in wanted}
    else:
        found = f"arrays called {', '.join(map(repr, arrays))}" if arrays else "no array"
    example = ", ".join(f"{name}=..." for name in wanted)
    raise CelosiaError(
        f"{what} has the inputs {', '.join(map(repr, wanted))}, the file holds {found}: give an "
        f"array for each input in a .npz file, as numpy.savez(file, {example}) writes it"
    )


def input_codes(network: Network, arrays: Arrays, *, codes: bool) -> dict[str, np.ndarray]:
    """Return the codes of a network's inputs by name, int64 (N, C, H, W).

    Parameters
    ----------
    network
        Whose inputs they are.
    arrays
        Numbers (N, C, H, W), or (C, H, W) for one sample; by name where there are several inputs.
        An input that is a vector, (K, 1, 1), takes images of K elements too.
    codes
        Whether they are codes already. Otherwise they are real values, integers too, and
        are quantised.

    Raises
    ------
    CelosiaError
        If an input is missing, or a shape, a value or a number of samples does not fit.
    """
    found = {
        name: _input_codes(network, name, values, codes=codes)
        for name, values in by_name(arrays, network.inputs, f"network {network.name!r}").items()
    }
    counts = {name: len(values) for name, values in found.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{count} of {name!r}" for name, count in counts.items())
        raise CelosiaError(f"the inputs have different numbers of samples: {said}")
    return found


def _input_codes(network: Network, name: str, values: np.ndarray, *, codes: bool) -> np.ndarray:
    tensor = network.tensor(name)
    if values.ndim == 3 and values.shape == tensor.shape:
        values = values[None]
    if values.ndim == 4 and len(values) and tensor.shape == (values[0].size, 1, 1):
        values = values.reshape(-1, *tensor.shape)  # images for a network that takes vectors
    if values.ndim == 4 and not len(values):
        raise CelosiaError(f"input {name!r} holds no sample: give at least one")
    if not codes:
        return quantise_input(network, values, name)
    if values.ndim != 4 or values.shape[1:] != tensor.shape:
        raise CelosiaError(
            f"input {name!r} has the shape (N, {', '.join(map(str, tensor.shape))}), "
            f"not {values.shape}"
        )
    if values.dtype.kind == "f":
        raise CelosiaError(
            f"the codes of input {name!r} must be integers, not {values.dtype}: leave --codes out "
            "for real values"
        )
    # As Python's integers: a cast would wrap large unsigned ones round.
    low, high = int(values.min()), int(values.max())
    if low < tensor.format.low or high > tensor.format.high:
        raise CelosiaError(
            f"input {name!r} takes codes {tensor.format.low} to {tensor.format.high}, not "
            f"{low} to {high}: leave --codes out for real values"
        )
    return values.astype(np.int64)

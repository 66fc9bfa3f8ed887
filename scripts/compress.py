"""From a model file and training data to a network of compressed layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from celosia.models.archive import load_model
from celosia.models.compression.compress import compress as compress_graph
from celosia.models.compression.permute import permute_rows
from celosia.models.compression.recipe import Compression, Retraining
from celosia.models.compression.statistics import Size, sizes
from celosia.models.errors import CelosiaError
from celosia.models.files import check_writable
from celosia.models.importer import import_program
from celosia.models.network import Network
from celosia.models.storage import save
from celosia.models.tensor_files import read_tensors
from celosia.scripts.arguments import Arrays, by_name, read_arrays

MASK_ENDINGS = (".weight_mask", ".weight")
"""What :mod:`torch.nn.utils.prune`, and a state of masks, add to a layer's name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """The network, what its layers and in the end all of it take, and what the import changed."""

    network: Network
    sizes: tuple[Size, ...]
    notes: tuple[str, ...]


def compress(
    model: str | Path,
    calibration: Arrays,
    recipe: Compression,
    retraining: Retraining,
    output: str | Path,
    *,
    labels: np.ndarray | None = None,
    head: int = 0,
    masks: Mapping[str, np.ndarray] | None = None,
    pes: int = 64,
    permuted: bool = False,
) -> Result:
    """Compress the exported model in the file ``model`` and write the network to ``output``.

    Parameters
    ----------
    model
        A ``.pt2`` file.
    calibration
        Training inputs, real values (N, C, H, W); by name where there are several.
    recipe, retraining
        What to do, and how long.
    labels, head
        Classes of the samples, int64 (N,), if known, and the position of the output they are for.
    masks
        Which weights are kept, by layer.
    pes
        What the network takes is said for so many PEs.
    permuted
        Whether rows then change places until these have equal work.

    Raises
    ------
    CelosiaError
        When the model cannot be imported or compressed, or the data does not fit it.
    OSError
        When the file cannot be written; found out before anything is computed.
    """
    check_writable(output)
    graph = import_program(load_model(model), Path(model).stem)
    inputs = by_name(calibration, graph.inputs, f"model {model}")
    network = compress_graph(
        graph, inputs, recipe, retraining, labels=labels, head=head, masks=masks
    )
    if permuted:
        network, _ = permute_rows(network, pes)
    save(network, output)
    return Result(network=network, sizes=sizes(network, pes=pes, before=graph), notes=graph.notes)


def read_densities(text: str) -> tuple[float | None, dict[str, float]]:
    """Return the density of all layers, None for none, and those of single ones.

    From text such as ``0.1``, or ``0.1,fc3=0.3``, or ``fc1=0.08,fc2=0.09,fc3=0.26``. Raises
    :class:`CelosiaError` for anything else.
    """
    whole: float | None = None
    layers: dict[str, float] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*((?P<name>[^=]+)=)?(?P<value>\d*\.?\d+(e-?\d+)?)\s*", part)
        if match is None or (match["name"] is None and whole is not None):
            raise CelosiaError(
                f"densities {text!r} are not understood: write one for all, such as 0.1, and "
                "name=density for single layers, with commas between them"
            )
        if match["name"] is None:
            whole = float(match["value"])
        else:
            layers[match["name"].strip()] = float(match["value"])
    return whole, layers


def read_masks(path: Path) -> dict[str, np.ndarray]:
    """Return masks by layer of a ``.npz`` file, or of a state (``.pt``) with tensors by name.

    What PyTorch's pruning calls ``fc1.weight_mask`` is the mask of ``fc1``; a state's other
    tensors, where it has such masks, are passed over. Nothing in the file is run.

    Raises :class:`CelosiaError` if the file cannot be read or holds no masks by name.
    """
    if path.suffix in (".pt", ".pth"):
        arrays = read_tensors(path)
    else:
        loaded = read_arrays(path)
        arrays = loaded if isinstance(loaded, dict) else None
    if not arrays:
        raise CelosiaError(
            f"{path} holds no masks by name: write numpy.savez(file, fc1=mask, ...), or save a "
            "dictionary of tensors"
        )
    masks = {name: mask for name, mask in arrays.items() if name.endswith(MASK_ENDINGS[0])}
    return {_layer(name): mask for name, mask in (masks or arrays).items()}


def _layer(name: str) -> str:
    for ending in MASK_ENDINGS:
        name = name.removesuffix(ending)
    return name


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dictionary, ``.pt`` or ``.safetensors``, by name.

    Raises :class:`CelosiaError` if the file cannot be read or holds anything else.
    """
    found = read_tensors(path)
    if found is None:
        raise CelosiaError(
            f"{path} holds no tensors by name: write torch.save(model.state_dict(), file)"
        )
    return found


def read_labels(path: Path) -> np.ndarray:
    """Return classes, int64 (N,), of a ``.npy`` file; raises :class:`CelosiaError` for others."""
    found = read_arrays(path)
    if isinstance(found, dict) or found.ndim != 1 or found.dtype.kind not in "iu":
        raise CelosiaError(f"{path}: classes are integers of shape (N,), in a .npy file")
    return found.astype(np.int64)

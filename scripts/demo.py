"""The demonstration networks as files, so that every command can be tried on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from celosia.dataflow.accelerator_file import dump_accelerator
from celosia.dataflow.presets import PRESETS
from celosia.models.archive import save_model
from celosia.models.files import atomic_directory
from celosia.models.zoo import workload

NETWORKS = ("rnet", "digits")


def export_demo(directory: str | Path) -> list[str]:
    """Write the demonstration networks and accelerators into ``directory``.

    For each network ``NAME.pt2`` (the trained float model), ``NAME_calibration.npy``,
    ``NAME_inputs.npy`` and ``NAME_labels.npy``; for each preset accelerator ``PRESET.toml``.

    Returns
    -------
    list of str
        The names of the files.

    Raises
    ------
    CelosiaError
        When a demonstration package is not installed.
    OSError
        When a file cannot be written.
    """
    with atomic_directory(directory) as draft:
        for name in NETWORKS:
            work = workload(name)
            save_model(work.model, (work.example,), draft / f"{name}.pt2")
            for part in ("calibration", "inputs", "labels"):
                np.save(draft / f"{name}_{part}.npy", getattr(work, part))
        for name, accelerator in PRESETS.items():
            (draft / f"{name}.toml").write_text(dump_accelerator(accelerator))
        return sorted(path.name for path in draft.iterdir())

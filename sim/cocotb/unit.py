"""A processing element on its own under cocotb, with stalls: driven from outside Amaranth."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from celosia.rtl.pe.unit import Unit
from celosia.rtl.verilog import write_verilog
from celosia.sim.cocotb.run import build_module, launch


def run_unit(
    unit: Unit,
    weights: np.ndarray,
    activations: np.ndarray,
    clears: np.ndarray,
    *,
    stall: float = 0.3,
    seed: int = 1,
) -> np.ndarray:
    """Give ``unit`` operands step by step; return its total after each step.

    Parameters
    ----------
    unit : Unit
        What to build.
    weights, activations : numpy.ndarray
        Codes of each step, (steps, lanes).
    clears : numpy.ndarray
        Steps that set the total to 0, bool (steps,).
    stall : float
        About how often a cycle passes without a step, operands being anything, 0 to 0.9.
    seed : int
        Of the stalls.

    Returns
    -------
    numpy.ndarray
        int64 (steps,).

    Raises
    ------
    MissingToolError
        When cocotb, make, the compiler or Verilator are missing.
    CelosiaError
        When the bench fails: with the end of its log.
    ValueError
        If ``stall`` is out of its range.
    """
    if not 0 <= stall <= 0.9:
        raise ValueError(f"stall must be 0 to 0.9, not {stall!r}")
    folder = build_module(write_verilog(unit), unit.module_name)
    with tempfile.TemporaryDirectory(prefix="celosia-cocotb-") as name:
        task = Path(name)
        np.savez(
            task / "task.npz",
            weights=_words(weights, unit.shape.weights.bits),
            activations=_words(activations, unit.shape.activations.bits),
            clears=clears,
            seed=seed,
            stall=stall,
        )
        launch("test", "unit", unit.module_name, str(folder), str(task), cwd=task)
        with np.load(task / "result.npz") as result:
            totals: np.ndarray = result["totals"]
            return totals


def _words(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return each step's codes side by side, lane 0 lowest, as bytes (steps, bytes)."""
    places = codes[..., None] >> np.arange(bits) & 1
    return np.packbits(places.reshape(len(codes), -1).astype(np.uint8), axis=1, bitorder="little")

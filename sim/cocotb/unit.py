"""A processing element on its own under cocotb, with stalls: driven from outside Amaranth."""

from __future__ import annotations

import numpy as np

from celosia.rtl.pe.unit import Unit
from celosia.rtl.verilog import write_verilog
from celosia.sim.cocotb.play import play


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
    rng = np.random.default_rng(seed)
    # A step comes after as many idle cycles as a coin says; its total is there one cycle later.
    steps = np.cumsum(rng.geometric(1 - stall, len(clears)))
    idle = rng.integers(0, len(clears), int(steps[-1]) + 2)
    idle[steps] = np.arange(len(clears))
    flags = np.zeros((2, len(idle), 1), np.uint8)
    flags[0, steps, 0], flags[1, steps, 0] = 1, clears
    inputs = {
        "weights": _words(weights, unit.shape.weights.bits)[idle],
        "activations": _words(activations, unit.shape.activations.bits)[idle],
        "step": flags[0],
        "clear": flags[1],
    }
    bits = len(unit.total)
    raw = play(write_verilog(unit), unit.module_name, inputs, {"total": bits})["total"]
    words = np.zeros((len(clears), 8), np.uint8)
    words[:, : raw.shape[1]] = raw[steps + 1]
    totals: np.ndarray = (words.view(np.int64)[:, 0] << 64 - bits) >> 64 - bits
    return totals


def _words(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return each step's codes side by side, lane 0 lowest, as bytes (steps, bytes)."""
    places = codes[..., None] >> np.arange(bits) & 1
    return np.packbits(places.reshape(len(codes), -1).astype(np.uint8), axis=1, bitorder="little")

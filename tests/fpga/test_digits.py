# amaranth: UnusedElaboratable=no
"""Digits on the ULX3S's whole system in RTL, driven over its serial port by the board's driver."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.dataflow.presets import preset
from celosia.fpga.serial_boards import SERIAL_BOARDS
from celosia.models.archive import export_model
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Network
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe
from celosia.models.zoo import Workload, workload
from celosia.scripts.board_run import SIMULATED, run_on_board

ACCURACY = 0.95
"""What 8-bit digits have at least, of the golden model and so of the board."""


@pytest.fixture(scope="module")
def digits() -> tuple[Network, Workload]:
    work = workload("digits")
    graph = import_program(export_model(work.model, (work.example,)))
    return quantize(graph, work.calibration, Recipe(activation_bits=8)), work


def classify(digits: tuple[Network, Workload], count: int) -> float:
    """Run samples on the board; return the share that it classifies right."""
    network, work = digits
    inputs = quantise_inputs(network, work.inputs[:count])
    run = run_on_board(network, preset("ecp5"), SERIAL_BOARDS["ulx3s"], SIMULATED, inputs)
    assert run.holds
    (scores,) = run.outputs.values()
    return float(np.mean(scores.reshape(count, -1).argmax(axis=1) == work.labels[:count]))


def test_one_digit(digits: tuple[Network, Workload]) -> None:
    assert classify(digits, 1) == 1


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_all_digits(digits: tuple[Network, Workload]) -> None:
    assert classify(digits, len(digits[1].inputs)) >= ACCURACY

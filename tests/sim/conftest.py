from pathlib import Path

import pytest

from celosia.sim.verilate import verilate


@pytest.fixture(scope="session")
def copier() -> Path:
    """Library of a small AXI master, see copier.v."""
    source = Path(__file__).parent / "copier.v"
    return verilate(source.read_text(), "copier").library

from pathlib import Path

import pytest

from celosia.dataflow.explore.search import Job
from celosia.dataflow.presets import preset


@pytest.fixture
def fakes(monkeypatch):
    """The module of fakes under a name that other processes import it by."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
    import fakes

    return fakes


@pytest.fixture
def jobs():
    area = {"lut": 1.0, "ff": 1.0, "dsp": 0.0, "bram": 0.0}
    return [
        Job(accelerator=preset("tiny"), variant=0, area=area, key=str(number))
        for number in range(12)
    ]

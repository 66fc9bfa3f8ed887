import pytest

from celosia.dataflow.explore.estimate import estimate_area
from celosia.dataflow.presets import preset


@pytest.mark.parametrize(
    ("name", "lut", "dsp", "bram"),
    # `celosia synth NAME --device zcu102`, as docs/benchmarks.md has it.
    [("zcu102", 94_950, 1_841, 372), ("ecp5", 9_881, 71, 28)],
)
def test_the_estimate_is_near_what_synthesis_says(name, lut, dsp, bram):
    found = estimate_area(preset(name), large_tables=True)
    assert found["lut"] == pytest.approx(lut, rel=0.1)
    assert found["dsp"] == dsp
    assert found["bram"] == pytest.approx(bram, rel=0.2)

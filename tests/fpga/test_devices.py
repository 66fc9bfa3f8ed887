"""Parts as data."""

import pytest

from celosia.fpga.devices import CELLS, DEVICES, ECP5_85K, ZCU102, Family, Resources, find_device
from celosia.models.errors import CelosiaError


def test_find_device():
    assert find_device("zcu102") is ZCU102
    assert find_device("ecp5-85k") is ECP5_85K
    assert all(device.name == name for name, device in DEVICES.items())


def test_unknown_device_lists_the_known():
    with pytest.raises(
        CelosiaError, match=r"'zcu999': known are ecp5-85k, kv260, pynq-z2, ultra96, zc706, zcu102"
    ):
        find_device("zcu999")


def test_resources_add_up():
    total = Resources(lut=1, bram=0.5) + Resources(lut=2, ff=3) * 2
    assert total == Resources(lut=5, ff=6, bram=0.5)
    assert total.as_dict() == {"lut": 5, "ff": 6, "carry": 0, "dsp": 0, "bram": 0.5, "uram": 0}
    assert isinstance(Resources(lut=2.0).as_dict()["lut"], int)


def test_every_family_has_cells():
    assert set(CELLS) == set(Family)


def test_zcu102_is_the_published_part():
    assert ZCU102.budget == Resources(lut=274_080, ff=548_160, dsp=2_520, bram=912)


@pytest.mark.parametrize(
    ("name", "lut", "dsp", "bram", "uram"),
    [
        ("ultra96", 70_560, 360, 216, 0),
        ("kv260", 117_120, 1_248, 144, 64),
        ("zcu104", 230_400, 1_728, 312, 96),
        ("pynq-z2", 53_200, 220, 140, 0),
        ("zc706", 218_600, 900, 545, 0),
    ],
)
def test_boards_are_the_published_parts(
    name: str, lut: int, dsp: int, bram: int, uram: int
) -> None:
    """Every slice has two flip-flops a look-up table, on both families."""
    budget = find_device(name).budget
    assert budget == Resources(lut=lut, ff=2 * lut, dsp=dsp, bram=bram, uram=uram)

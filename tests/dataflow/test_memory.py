import pytest

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.memory import PRESETS, MemoryModel


def test_parameters_are_read_back() -> None:
    model = MemoryModel(latency=7, bytes_per_cycle=5, outstanding=3)
    assert (model.latency, model.bytes_per_cycle, model.outstanding) == (7, 5, 3)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("latency", 0, r"^latency must be 1 to 65535, not 0$"),
        ("latency", 65536, r"^latency must be 1 to 65535, not 65536$"),
        ("bytes_per_cycle", 0, r"^bytes_per_cycle must be 1 to 64, not 0$"),
        ("bytes_per_cycle", 65, r"^bytes_per_cycle must be 1 to 64, not 65$"),
        ("outstanding", 0, r"^outstanding must be 1 to 256, not 0$"),
        ("outstanding", 257, r"^outstanding must be 1 to 256, not 257$"),
    ],
)
def test_range_wrong(field: str, value: int, message: str) -> None:
    fields = {"latency": 1, "bytes_per_cycle": 1, "outstanding": 1} | {field: value}
    with pytest.raises(ValueError, match=message):
        MemoryModel(**fields)


def test_kind_wrong() -> None:
    with pytest.raises(TypeError, match=r"^latency must be an int, not True$"):
        MemoryModel(latency=True, bytes_per_cycle=1, outstanding=1)


def test_on_bus_limits_the_bandwidth() -> None:
    fast = MemoryModel(latency=1, bytes_per_cycle=64, outstanding=1)
    narrow = Bus(data_bits=64)
    assert fast.on_bus(narrow) == MemoryModel(latency=1, bytes_per_cycle=8, outstanding=1)
    assert fast.on_bus(Bus(data_bits=512)) == fast


def test_on_bus_adds_up_the_memories_behind_several_ports() -> None:
    each = MemoryModel(latency=1, bytes_per_cycle=5, outstanding=1)
    four = Bus(data_bits=512, ports=4)
    assert each.on_bus(four) == MemoryModel(latency=1, bytes_per_cycle=20, outstanding=1)
    wide = MemoryModel(latency=1, bytes_per_cycle=64, outstanding=1)
    assert wide.on_bus(Bus(data_bits=64, ports=2)).bytes_per_cycle == 8


def test_presets_differ() -> None:
    assert set(PRESETS) == {"ideal", "ddr4", "slow"}
    assert len(set(PRESETS.values())) == 3

"""The native harness, driven by a small AXI master that copies one burst: copier.v."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.memory import PRESETS, MemoryModel
from celosia.models.errors import CelosiaError
from celosia.sim.library import Model, Outcome, ProtocolError
from celosia.sim.verilate import verilate

BASE = 0x4000
START, ENABLE, SOURCE, DESTINATION, LENGTH, BROKEN = 0x20, 0x28, 0x30, 0x34, 0x38, 0x3C
FIRST_BEAT, LAST_BEAT, RESPONSE, ERRORS = 0x44, 0x48, 0x4C, 0x50
MODELS = [*PRESETS.values(), MemoryModel(latency=5, bytes_per_cycle=5, outstanding=1)]


@pytest.fixture
def model(copier: Path) -> Iterator[Model]:
    with Model(copier) as made:
        yield made


@pytest.fixture
def memory(model: Model) -> np.ndarray:
    image = np.random.default_rng(7).integers(0, 256, 0x4000, dtype=np.uint8)
    model.attach(image, BASE)
    model.write(ENABLE, 1)
    return image


def copy(model: Model, beats: int, *, source: int = BASE, broken: int = 0) -> Outcome:
    model.write(SOURCE, source)
    model.write(DESTINATION, BASE + 0x2000)
    model.write(LENGTH, beats - 1)
    model.write(BROKEN, broken)
    model.write(START, 1)
    return model.run(10_000)


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@pytest.mark.parametrize("timing", MODELS)
@pytest.mark.parametrize("beats", [1, 2, 7, 256])
def test_copy_and_its_cycles(
    model: Model, memory: np.ndarray, timing: MemoryModel, beats: int
) -> None:
    model.start_memory(timing)
    assert copy(model, beats) is Outcome.INTERRUPT
    assert np.array_equal(memory[0x2000 : 0x2000 + 8 * beats], memory[: 8 * beats])
    # The read burst is accepted in cycle 0, its beat k comes as soon as the bandwidth allows.
    rate, latency = min(timing.bytes_per_cycle, 8), timing.latency
    last = ceil_div(latency * rate + (beats - 1) * 8, rate)
    assert (model.read(FIRST_BEAT), model.read(LAST_BEAT)) == (latency, last)
    # AW follows a cycle later, W the cycle after that.
    last_write = ceil_div((last + 2) * rate + (beats - 1) * 8, rate)
    assert model.read(RESPONSE) == last_write + latency


def test_run_ends_at_its_limit(model: Model, memory: np.ndarray) -> None:
    before = model.cycle
    assert model.run(123) is Outcome.CYCLES
    assert model.cycle == before + 123


def test_closed_model_says_so(copier: Path) -> None:
    model = Model(copier)
    model.close()
    model.close()
    for call in (model.reset, lambda: model.run(1), lambda: model.read(0), lambda: model.cycle):
        with pytest.raises(CelosiaError, match="the simulated engine is closed: make another"):
            call()


def test_second_run_is_as_the_first(model: Model, memory: np.ndarray) -> None:
    cycles = []
    for _ in range(2):
        model.start_memory(PRESETS["slow"])
        copy(model, 50)
        cycles.append(model.read(RESPONSE))
    assert cycles[0] == cycles[1]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (1, "W: WLAST before the last beat of the burst"),
        (2, "AR: the payload changed before ready"),
        (3, "W: valid fell before ready"),
        (4, "AR: the burst type is not INCR"),
    ],
)
def test_broken_rule_is_named(model: Model, memory: np.ndarray, broken: int, message: str) -> None:
    model.start_memory(MemoryModel(latency=1, bytes_per_cycle=1, outstanding=1))
    if broken == 2:  # AR must wait: keep the only slot busy with a burst that is never taken
        model.write(SOURCE, BASE)
        model.write(LENGTH, 255)
        model.write(START, 1)
        model.write(BROKEN, 2)
        model.write(START, 1)
        with pytest.raises(ProtocolError, match=message):
            model.run(100)
        return
    with pytest.raises(ProtocolError, match=message):
        copy(model, 4, broken=broken)


def test_burst_across_4_kib_is_refused(model: Model, memory: np.ndarray) -> None:
    with pytest.raises(ProtocolError, match="AR: the burst crosses a 4 KiB boundary"):
        copy(model, 4, source=BASE + 0xFF0)


def test_unaligned_burst_is_refused(model: Model, memory: np.ndarray) -> None:
    with pytest.raises(ProtocolError, match="AR: the address is not aligned to a beat"):
        copy(model, 1, source=BASE + 4)


def test_burst_past_the_limit_is_refused(model: Model, memory: np.ndarray) -> None:
    model.limit_bursts(16)
    with pytest.raises(ProtocolError, match="AR: the burst is longer than the accelerator's limit"):
        copy(model, 17)


def test_reset_mends_a_violation(model: Model, memory: np.ndarray) -> None:
    with pytest.raises(ProtocolError):
        copy(model, 4, broken=4)
    model.reset()
    model.write(ENABLE, 1)
    assert copy(model, 4) is Outcome.INTERRUPT


@pytest.mark.parametrize("address", [BASE + 8, BASE + 0x2000 + 17])
def test_injected_error_is_answered(model: Model, memory: np.ndarray, address: int) -> None:
    model.inject(address)
    before = memory[0x2010:0x2018].copy()
    copy(model, 4)
    assert model.read(ERRORS) == 2
    # A write that was refused changes nothing.
    assert (address < BASE + 0x2000) or np.array_equal(memory[0x2010:0x2018], before)
    model.clear_faults()
    copy(model, 4)
    assert model.read(ERRORS) == 0


def test_outside_the_memory_answers_decode_error(model: Model, memory: np.ndarray) -> None:
    copy(model, 1, source=0x100)
    assert model.read(ERRORS) == 3
    assert not memory[0x2000:0x2008].any()


def test_watch_tells_the_last_write(model: Model, memory: np.ndarray) -> None:
    watched = BASE + 0x2000 + 8 * 3 + 5
    model.watch(watched)
    assert model.watched(watched) is None
    model.start_memory(PRESETS["ideal"])
    copy(model, 8)
    end = model.cycle - 1  # in this cycle the interrupt was seen
    # Beats 4 to 7, then the response, seen a cycle after the last, then done.
    assert model.watched(watched) == end - 1 - 1 - 4
    model.clear_watches()
    assert model.watched(watched) is None


def test_missing_register_is_refused(model: Model) -> None:
    with pytest.raises(ProtocolError, match="reading register 0x800 gave response 2"):
        model.read(0x800)


@pytest.mark.parametrize("wrong", [np.zeros(4), np.zeros((4, 4), np.uint8).T[::2]])
def test_attach_wrong(model: Model, wrong: np.ndarray) -> None:
    with pytest.raises(TypeError, match="contiguous, writable array of uint8"):
        model.attach(wrong, 0)


def test_replay_repeats_the_run(model: Model, memory: np.ndarray) -> None:
    model.record(True)
    begin = model.cycle
    copy(model, 100)
    model.record(False)
    recorded = model.cycle - begin
    assert model.replay() == recorded
    assert model.cycle == begin + 2 * recorded


def test_no_library(tmp_path: Path) -> None:
    (tmp_path / "engine.so").write_bytes(b"nothing")
    with pytest.raises(CelosiaError, match=r"cannot be loaded .* Remove it: it is built again"):
        Model(tmp_path / "engine.so")


def test_trace_is_written(tmp_path: Path) -> None:
    source = (Path(__file__).parent / "copier.v").read_text()
    path = tmp_path / "copier.fst"
    with Model(verilate(source, "copier", traced=True).library) as model:
        model.attach(np.zeros(0x4000, np.uint8), BASE)
        model.write(ENABLE, 1)
        model.trace(path)
        copy(model, 4)
        model.end_trace()
    # Block type 0 (header), its length 329, then first and last time.
    header = path.read_bytes()[:25]
    assert header[0] == 0
    assert int.from_bytes(header[1:9], "big") == 329
    assert int.from_bytes(header[17:25], "big") > 0

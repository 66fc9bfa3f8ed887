"""Keyword networks of pymicro-wakeword: codes against TensorFlow Lite's own runtime."""

import contextlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.integer.grids import Imported
from celosia.models.network import Conv
from celosia.models.tflite_import.importer import import_tflite
from celosia.models.tflite_import.reader import read_model

SPEC = importlib.util.find_spec("pymicro_wakeword")
FOLDER = Path(SPEC.origin).parent / "models" if SPEC and SPEC.origin else Path("missing")
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="pymicro-wakeword is not installed")

STEPS = 24


@pytest.fixture(scope="module")
def keyword() -> Imported:
    return import_tflite(FOLDER / "alexa.tflite")


def frames(count: int) -> np.ndarray:
    """Return frames of features, int8 (count, 40), about half of them silent."""
    random = np.random.default_rng(8)
    loud = random.integers(-64, 64, (count, 40))
    return np.where(random.random(loud.shape) < 0.5, -128, loud).astype(np.int8)


def test_the_window_of_one_output(keyword: Imported) -> None:
    network = keyword.network
    assert network.tensor(network.inputs[0]).shape == (40, 149, 1)
    assert network.tensor(network.outputs[0]).shape == (1, 1, 1)
    assert "149 frames that one output depends on, 3 of which are new" in keyword.notes[0]
    assert "LOGISTIC left out" in keyword.notes[1]


@pytest.mark.parametrize("name", ["okay_nabu", "hey_jarvis", "hey_mycroft"])
def test_other_keywords_are_read_too(name: str) -> None:
    """One has depthwise convolutions of several lengths for parts of the channels."""
    network = import_tflite(FOLDER / f"{name}.tflite").network
    assert network.macs > 600_000
    assert all(op.groups in (1, op.channels[0]) for op in network.ops if isinstance(op, Conv))


@pytest.mark.filterwarnings("ignore")
def test_a_stream_gives_the_same_codes(keyword: Imported) -> None:
    runtime = pytest.importorskip("ai_edge_litert.interpreter", reason="an independent reference")
    network = keyword.network
    reach = network.tensor(network.inputs[0]).shape[1]
    warm = -(-reach // 3)
    data = frames(3 * (warm + STEPS))
    stream = runtime.Interpreter(
        model_path=str(FOLDER / "alexa.tflite"),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_REF,
    )
    stream.allocate_tensors()
    layer = next(op for op in stream._get_ops_details() if op["op_name"] == "FULLY_CONNECTED")
    expected = []
    for step in range(warm + STEPS):
        new = data[3 * step : 3 * step + 3]
        stream.set_tensor(stream.get_input_details()[0]["index"], new[None])
        stream.invoke()
        expected.append(int(stream.get_tensor(layer["outputs"][0]).item()))
    ends = range(3 * (warm + 1), len(data) + 1, 3)
    windows = np.stack([data[end - reach : end].T[:, :, None] for end in ends])
    got = evaluate(network, {network.inputs[0]: windows})[network.outputs[0]].reshape(-1)
    error = np.abs(got - np.array(expected[warm:]))
    # Nine layers of which each gives another code for about one sum in ten thousand.
    assert error.max() <= 1
    assert (error == 0).mean() >= 0.5
    assert len(set(expected[warm:])) > 4
    for item in keyword.agreements:
        assert item.margin <= 0.02, str(item)
        assert item.differ is not None
        assert item.differ < 1e-3 * item.count, str(item)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    data = bytearray((FOLDER / "alexa.tflite").read_bytes())
    path = tmp_path / "m.tflite"
    random = np.random.default_rng(4)
    for size in (0, 3, 8, 40, 1000, len(data) // 2, len(data) - 100):
        path.write_bytes(data[:size])
        with pytest.raises(CelosiaError, match=r"no TFLite file|damaged|cannot be imported"):
            import_tflite(path)
    for place in random.integers(0, len(data), 60):
        changed = bytearray(data)
        changed[place] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        with contextlib.suppress(CelosiaError):
            read_model(path)
    with pytest.raises(CelosiaError, match="cannot read"):
        import_tflite(tmp_path / "none.tflite")


def test_operators_without_a_counterpart_are_named(tmp_path: Path, monkeypatch) -> None:
    from celosia.models.tflite_import import reader

    known = {code: name for code, name in reader.OPERATORS.items() if name != "STRIDED_SLICE"}
    monkeypatch.setattr(reader, "OPERATORS", known)
    with pytest.raises(CelosiaError, match=r"operator 45 at .*strided_slice.*no counterpart"):
        import_tflite(FOLDER / "alexa.tflite")

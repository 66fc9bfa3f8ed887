"""From what is written on a command line to values."""

import io
import re
import zipfile

import numpy as np
import pytest

from celosia.dataflow.presets import preset
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.network import MaxPool, Network, Tensor, Window
from celosia.scripts.arguments import input_codes, read_arrays, read_calibration, read_engine

SHAPE = (1, 2, 2)
NETWORK = Network(
    name="wire",
    tensors=tuple(
        Tensor(name=name, shape=SHAPE, format=Fixed(bits=8), scale=0.5) for name in ("x", "y")
    ),
    inputs=("x",),
    outputs=("y",),
    ops=(MaxPool(name="copy", input="x", output="y", window=Window(kernel=(1, 1))),),
)


def damaged(header: str) -> bytes:
    """Return a ``.npy`` file with ``header``."""
    text = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(64)


HEADERS = [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1, (2,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
    "{'descr': '<f4L', 'fortran_order': False, 'shape': (1,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
    "{'descr': [('a',)], 'fortran_order': False, 'shape': (1,)}",
    '"""',
    "[" * 100,
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("archived", [False, True])
def test_damaged_header_is_said(tmp_path, header, archived):
    data = damaged(header)
    if archived:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("x.npy", data)
        data = buffer.getvalue()
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(CelosiaError, match=r"x is no \.npy or \.npz file of numbers"):
        read_arrays(path)


def test_arrays_of_other_things_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array(["text"]))
    with pytest.raises(CelosiaError, match=r"x\.npy must hold numbers alone"):
        read_arrays(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", x=np.ones(3), y=np.ones(3, complex))
    with pytest.raises(CelosiaError, match=r"x\.npz, array 'y', must hold numbers alone"):
        read_arrays(tmp_path / "x.npz")


def test_truth_values_are_numbers(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((1, *SHAPE), bool))
    arrays = read_calibration(tmp_path / "x.npz")
    assert isinstance(arrays, dict)
    assert arrays["x"].dtype == np.uint8


def test_calibration_of_another_shape_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((1, *SHAPE)), y=np.ones(3))
    with pytest.raises(CelosiaError, match=r"shape \(N, C, H, W\), not \(3,\)"):
        read_calibration(tmp_path / "x.npz")


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int8, np.uint16, np.int64])
def test_numbers_are_real_values_whatever_their_type(kind):
    values = np.array([0, 1, 2, 3], kind).reshape(1, *SHAPE)
    for arrays in (values, values[0], {"x": values}):
        found = input_codes(NETWORK, arrays, codes=False)
        assert found["x"].tolist() == (2 * values).tolist()  # steps of 0.5


def test_codes_are_taken_as_they_are():
    values = np.array([-128, 0, 5, 127]).reshape(1, *SHAPE)
    assert input_codes(NETWORK, values, codes=True)["x"].tolist() == values.tolist()
    wrong = [
        (values * 1.0, "codes of input 'x' must be integers, not float64: leave --codes out"),
        (values * 2, "takes codes -128 to 127, not -256 to 254: leave --codes out"),
        (values[:, :, :1], "input 'x' has the shape (N, 1, 2, 2), not (1, 1, 1, 2)"),
        (values[:0], "input 'x' holds no sample: give at least one"),
    ]
    for arrays, message in wrong:
        with pytest.raises(CelosiaError, match=re.escape(message)):
            input_codes(NETWORK, arrays, codes=True)


def test_a_folder_of_a_presets_name_hides_no_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ecp5").mkdir()
    assert read_engine("ecp5") == preset("ecp5")
    with pytest.raises(CelosiaError, match="cannot read accelerator file"):
        read_engine(".")


def test_file_without_arrays_is_refused():
    with pytest.raises(CelosiaError, match="has the inputs 'x', the file holds no array"):
        input_codes(NETWORK, {}, codes=False)

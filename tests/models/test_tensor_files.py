"""Files of tensors by name; nothing in them is run, and damage is refused in words."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch

from celosia.models.errors import CelosiaError
from celosia.models.tensor_files import read_safetensors, read_tensors


def safetensors(header, data=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, first, stop, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, stop]}


def test_what_was_written_comes_back(tmp_path):
    values = np.arange(6, dtype="<f4")
    path = tmp_path / "a.safetensors"
    header = {"__metadata__": {"a": "b"}, "x": entry([2, 3], 0, 24), "y": entry([1], 4, 8)}
    path.write_bytes(safetensors(header, values.tobytes()))
    found = read_tensors(path)
    assert found is not None
    assert found["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["y"].tolist() == [1]
    path = tmp_path / "a.pt"
    torch.save({"x": torch.ones(2, dtype=torch.float16)}, path)
    found = read_tensors(path)
    assert found is not None
    assert found["x"].tolist() == [1, 1]
    torch.save([1, 2], path)
    assert read_tensors(path) is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no usable safetensors file"),
        (struct.pack("<Q", 1 << 40) + b"{}", "its header claims 1099511627776 bytes"),
        (safetensors(b"{"), "no usable safetensors file"),
        (safetensors({"x": entry([2], 0, 8)}), "'x' is no 32-bit floats within the file"),
        (safetensors({"x": entry([1], 0, 4, "F16")}, b"abcd"), "'x' is no 32-bit floats"),
        (safetensors({"x": entry([3], 0, 4)}, b"abcd"), "reshape"),
        (safetensors({"x": {}}), "no usable safetensors file"),
        (safetensors(b"[]"), "no usable safetensors file"),
    ],
)
def test_damaged_files_are_refused(tmp_path, raw, message):
    path = tmp_path / "a.safetensors"
    path.write_bytes(raw)
    with pytest.raises(CelosiaError, match=message):
        read_safetensors(path)


def test_files_that_are_not_there(tmp_path):
    for name in ("a.pt", "a.safetensors"):
        with pytest.raises(CelosiaError, match=r"cannot read .*: No such file"):
            read_tensors(tmp_path / name)
    (tmp_path / "a.pt").write_bytes(b"not a file of torch")
    with pytest.raises(CelosiaError, match="no file of tensors, or is damaged"):
        read_tensors(tmp_path / "a.pt")

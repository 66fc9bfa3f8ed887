"""``.pt2`` files: read back, and refused where they are damaged or could run code."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from celosia.models.archive import load_model, save_model
from celosia.models.errors import CelosiaError
from celosia.models.importer import check_model, import_program


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.conv(x)).view(x.shape[0], -1))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    save_model(Model(), (torch.randn(1, 3, 4, 4),), path)
    return path.read_bytes()


def test_round_trip(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any name.bin"
    path.write_bytes(archive)
    assert check_model(path) == []
    assert len(import_program(load_model(path)).ops) == 2


def test_dynamic_batch_is_read(tmp_path: Path) -> None:
    shapes = {"x": {0: torch.export.Dim("n")}}
    exported = torch.export.export(
        Model().eval(), (torch.randn(2, 3, 4, 4),), dynamic_shapes=shapes
    )
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    (tmp_path / "m.pt2").write_bytes(buffer.getvalue())
    assert check_model(tmp_path / "m.pt2") == []


def test_training_mode_is_restored(tmp_path: Path) -> None:
    model = Model().train()
    save_model(model, (torch.randn(1, 3, 4, 4),), tmp_path / "m.pt2")
    assert model.training


def test_truncated_or_other_files(archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    for data in (b"", b"hello", archive[:100], archive[: len(archive) // 2], archive[:-1]):
        path.write_bytes(data)
        with pytest.raises(CelosiaError, match=r"not a usable \.pt2 file"):
            load_model(path)
    with pytest.raises(CelosiaError, match="cannot read"):
        load_model(tmp_path / "none.pt2")
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(CelosiaError, match="no exported model"):
        load_model(path)


def rewritten(data: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Return the archive with ``change`` applied to its members (names without the folder)."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        members = {name.split("/", 1)[1]: source.read(name) for name in source.namelist()}
    change(members)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as written:
        for name, content in members.items():
            written.writestr(f"model/{name}", content)
    return target.getvalue()


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("exploded",))


def edit(name: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        document = json.loads(members[name])
        change(document)
        members[name] = json.dumps(document).encode()

    return apply


def pickled_weight(members: dict[str, bytes]) -> None:
    def change(document: Any) -> None:
        document["config"]["conv.weight"]["use_pickle"] = True

    edit("data/weights/model_weights_config.json", change)(members)
    members["data/weights/weight_0"] = pickle.dumps(Bomb())


def pickled_constant(members: dict[str, bytes]) -> None:
    def change(document: Any) -> None:
        entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
        document["config"]["bomb"] = {**entry, "tensor_meta": None}

    edit("data/constants/model_constants_config.json", change)(members)
    members["data/constants/opaque_obj_0"] = pickle.dumps(Bomb())


def pickled_sample(members: dict[str, bytes]) -> None:
    members["data/sample_inputs/model.pt"] = pickle.dumps(Bomb())


def legacy_weights(members: dict[str, bytes]) -> None:
    members["data/weights/model.pt"] = pickle.dumps(Bomb())


def compiled_code(members: dict[str, bytes]) -> None:
    members["data/aotinductor/model/code.so"] = b"\x7fELF"


def strange_target(members: dict[str, bytes]) -> None:
    def change(document: Any) -> None:
        document["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.mkdir"

    edit("models/model.json", change)(members)


def strange_expression(members: dict[str, bytes]) -> None:
    def change(document: Any) -> None:
        text = "__import__('os').mkdir('exploded')"
        document["graph_module"]["graph"]["sym_int_values"]["s0"] = {
            "as_expr": {"expr_str": text, "hint": None}
        }

    edit("models/model.json", change)(members)


def no_weights(members: dict[str, bytes]) -> None:
    del members["data/weights/model_weights_config.json"]


def damaged_document(members: dict[str, bytes]) -> None:
    members["models/model.json"] = b"{"


@pytest.mark.parametrize(
    "change",
    [
        pickled_weight,
        pickled_constant,
        pickled_sample,
        legacy_weights,
        compiled_code,
        strange_target,
        strange_expression,
        no_weights,
        damaged_document,
    ],
)
def test_hostile_or_damaged_members_are_refused(
    change: Callable[[dict[str, bytes]], None],
    archive: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pt2").write_bytes(rewritten(archive, lambda members: None))
    load_model("m.pt2")
    (tmp_path / "m.pt2").write_bytes(rewritten(archive, change))
    with pytest.raises(CelosiaError, match=r"m\.pt2"):
        load_model("m.pt2")
    assert os.listdir(tmp_path) == ["m.pt2"]


def test_wrong_checksum(archive: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        info = next(item for item in content.infolist() if "weight_0" in item.filename)
    data = bytearray(archive)
    name = len(info.filename.encode())
    extra = int.from_bytes(archive[info.header_offset + 28 : info.header_offset + 30], "little")
    data[info.header_offset + 30 + name + extra + 5] ^= 0xFF
    path = tmp_path / "model.pt2"
    path.write_bytes(data)
    with pytest.raises(CelosiaError, match="weight_0 does not match its checksum"):
        load_model(path)


def test_save_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CelosiaError, match="cannot write"):
        save_model(Model(), (torch.randn(1, 3, 4, 4),), tmp_path / "file" / "m.pt2")


def test_endless_brackets_wrong(archive: bytes, tmp_path: Path) -> None:
    def nest(members: dict[str, bytes]) -> None:
        members["models/model.json"] = b"[" * 100_000

    (tmp_path / "m.pt2").write_bytes(rewritten(archive, nest))
    with pytest.raises(CelosiaError, match="its description is damaged"):
        load_model(tmp_path / "m.pt2")

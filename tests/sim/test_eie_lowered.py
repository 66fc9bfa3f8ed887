"""A convolutional network, lowered, on the EIE engine in RTL: the dense engine's integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from celosia.dataflow.eie.accelerator import Widths
from celosia.dataflow.eie.presets import TINY
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.models.archive import export_model
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.lower_convolutions import lower_convolutions, short_multipliers
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe
from celosia.scripts.simulate import simulate

SEED = 56
ENGINE = replace(
    TINY,
    name="eie_tiny_lowered",
    widths=Widths(weight=16, codebook=False, accumulator=44),
    memories=replace(TINY.memories, row_entries=2),
)


def test_both_engines_have_the_same_codes_in_every_tensor():
    """Strides, padding, groups, slopes, maxima and a linear layer."""
    torch.manual_seed(SEED)
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.PReLU(2),
        nn.Conv2d(2, 2, 3, padding=1, groups=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    x = np.random.default_rng(SEED).normal(0, 1, (2, 1, 8, 8)).astype(np.float32)
    graph = import_program(export_model(module, (torch.from_numpy(x[:1]),)), "small")
    network = short_multipliers(quantize(graph, x, Recipe(activation_bits=8)))
    codes = quantise_inputs(network, x)
    flat = {name: values.reshape(len(values), -1, 1, 1) for name, values in codes.items()}
    lowered = simulate(lower_convolutions(network), ENGINE, flat, DDR4)
    assert lowered.holds, lowered.verdict_line()
    dense = simulate(network, preset("tiny"), codes, DDR4)
    assert dense.holds, dense.verdict_line()
    for name, values in dense.run.tensors.items():
        assert (lowered.run.tensors[name].reshape(values.shape) == values).all()

"""The nine-knob chunk accelerator of DNA and its successor Auto-NBA, as a test of strategies.

Latency, DSP blocks and block RAM are the published closed forms; nothing in Celosia builds it.
"""

import math
from dataclasses import dataclass

from celosia.dataflow.explore.knobs import Knob, Space
from celosia.dataflow.explore.strategy import Score, Trial

CLOCK = 200e6
TILES = ("trb", "tcb", "tmb", "tnb", "tr", "tc", "tm", "tn")


@dataclass(frozen=True)
class Layer:
    inputs: int
    outputs: int
    size: int
    kernel: int


class ChunkSpace(Space):
    """comp_mode, four buffer tiles, four compute tiles that are at most their buffer tile."""

    def __init__(self, modes, rows, outputs, inputs):
        sizes = (rows, rows, outputs, inputs)
        self._knobs = (
            Knob(name="mode", choices=tuple(range(modes)), ordered=False),
            *(Knob(name=n, choices=s) for n, s in zip(TILES, (*sizes, *sizes), strict=True)),
        )

    @property
    def knobs(self):
        return self._knobs

    def allowed(self, before):
        index = len(before)
        choices = self._knobs[index].choices
        if index < 5:
            return range(len(choices))
        most = self._knobs[index - 4].choices[before[index - 4]]
        return [i for i, size in enumerate(choices) if size <= most]


LARGE = (3, (16, 8, 4, 2, 1), (8, 4, 2, 1), (8, 4, 2, 1))
SMALL = (3, (4, 2, 1), (32, 16, 8, 4, 2, 1), (32, 16, 8, 4, 2, 1))
LARGE_DEPTHWISE = (2, (16, 8, 4, 2, 1), (8, 4, 2, 1), (1,))
SMALL_DEPTHWISE = (2, (4, 2, 1), (32, 16, 8, 4, 2, 1), (1,))


def elements(mode, tm, tn, tr):
    return {0: tm, 1: tm * tn, 2: tr}[mode]


def cycles(layer, bits, knobs):
    """Cycles of one layer: the published formula, trip counts divided and not rounded."""
    mode, trb, tcb, tmb, tnb, tr, tc, tm, tn = knobs
    share = bits / 16
    kernel = layer.kernel
    comp = tmb * tnb * trb * tcb * kernel**2 / elements(mode, tm, tn, tr)
    rows, columns = max(tr + kernel - 1, trb), max(tc + kernel - 1, tcb)
    lane = rows if mode == 2 else tn
    loaded = math.ceil(share * tnb * rows * columns / max(2, min(4, lane)))
    if mode == 2:
        weights = share * tmb * tnb * kernel
        clear = tcb * tmb * trb / tr
    else:
        weights = math.ceil(share * tmb * tnb * kernel**2 / max(2, min(4, tm)))
        clear = trb * tcb * tmb / tm
    lane = tr if mode == 2 else tm
    stored = math.ceil(share * tmb * trb * tcb / max(2, min(4, lane))) + clear
    tiles = (layer.size / trb) * (layer.size / tcb) * (layer.outputs / tmb)
    return tiles * (stored + layer.inputs / tnb * (max(comp, loaded) + weights))


def dsp(bits, knobs):
    mode, _, _, _, _, tr, _, tm, tn = knobs
    return elements(mode, tm, tn, tr) * bits / 16


@dataclass(frozen=True)
class ChunkProblem:
    """Make a chunk that runs ``layers`` the quickest within ``budget`` DSP blocks."""

    space: ChunkSpace
    layers: tuple[Layer, ...]
    budget: float
    bits: int = 16

    def score(self, point):
        knobs = tuple(self.space.values(point).values())
        took = sum(cycles(layer, self.bits, knobs) for layer in self.layers)
        used = dsp(self.bits, knobs)
        return Score(values=(took, used), violation=max(0.0, used / self.budget - 1))

    def run(self, strategy, samples):
        """Return all trials of at most ``samples`` points."""
        trials = []
        while len(trials) < samples:
            points = strategy.ask()[: samples - len(trials)]
            if not points:
                break
            told = [Trial(point=point, score=self.score(point)) for point in points]
            trials += told
            if len(trials) < samples:
                strategy.tell(told)
        return trials

"""Ready-made EIE engines, by name."""

from __future__ import annotations

from dataclasses import replace

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.eie.accelerator import CellUnit, EieAccelerator, PeArray, PeMemories, Widths

# 4 PEs: tests, and a first look. A bus as narrow as a row of entries.
TINY = EieAccelerator(
    name="eie_tiny",
    array=PeArray(pes=4),
    widths=Widths(),
    memories=PeMemories(
        entries=4096, pointers=512, biases=64, activations=64, accumulators=32, window=16
    ),
    bus=Bus(data_bits=64, burst_beats=32, outstanding=4),
)

# The paper's: 64 PEs, queues of 8, 128 KB of entries a PE. Its 32 KB of pointers hold 16,384, and
# VGG-6 has 25,089: here 64 KB, so that every layer of its benchmark lies on chip. Activations: two
# files of 1 KB for its 2 KB memory and its registers. NT-Wd has 138 rows a PE.
PAPER = EieAccelerator(
    name="eie_paper",
    array=PeArray(pes=64, queue=8),
    widths=Widths(),
    memories=PeMemories(
        entries=131072, pointers=32768, biases=192, activations=512, accumulators=192
    ),
    bus=Bus(data_bits=128),
)

# The same with what its authors' retrospective misses: two activations a cycle, columns without
# entries at no cost.
IMPROVED = replace(
    PAPER, name="eie_improved", array=PeArray(pes=64, queue=8, channels=2, skip_empty=True)
)

# The board's block memories hold 16 PEs with 32 KB of entries each.
ZCU102 = EieAccelerator(
    name="eie_zcu102",
    array=PeArray(pes=16, queue=8),
    widths=Widths(),
    memories=PeMemories(
        entries=32768, pointers=4096, biases=512, activations=512, accumulators=256
    ),
    bus=Bus(data_bits=128),
)

# The same with cell units, for recurrent layers: 256 states of 256 inputs at a quarter of their
# weights, or 128 of 128 with all of them.
LSTM = replace(ZCU102, name="eie_lstm", cell=CellUnit())

# Of the paper's size with plain weights of 16 bits, which absorb the multipliers of networks whose
# convolutions are lowered.
LOWERED = replace(
    PAPER,
    name="eie_lowered",
    widths=Widths(weight=16, codebook=False, accumulator=44),
    memories=replace(PAPER.memories, row_entries=4),
)

EIE_PRESETS = {engine.name: engine for engine in (TINY, PAPER, IMPROVED, ZCU102, LSTM, LOWERED)}
"""All presets by name."""

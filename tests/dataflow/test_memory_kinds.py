"""What buffers are made of: the file form, and the blocks that memories take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from celosia.dataflow.accelerator_file import dump_accelerator, fingerprint, parse_accelerator
from celosia.dataflow.memory_kinds import BufferMemories, MemoryKind, ultra_blocks
from celosia.dataflow.presets import preset
from celosia.models.errors import CelosiaError

TINY = preset("tiny")
ULTRA = replace(TINY, memories=BufferMemories(weights=MemoryKind.ULTRA, outputs=MemoryKind.BLOCK))


def test_kinds_come_back_and_auto_goes_without_saying() -> None:
    assert "memory" not in dump_accelerator(TINY)
    text = dump_accelerator(ULTRA)
    assert '[buffers.memory]\nweights = "ultra"\noutputs = "block"\n' in text
    assert parse_accelerator(text, "x") == ULTRA
    assert parse_accelerator(text.replace('"ultra"', '"auto"'), "x").memories.weights is (
        MemoryKind.AUTO
    )
    assert fingerprint(ULTRA) != fingerprint(TINY)
    assert ULTRA.memories.named(MemoryKind.ULTRA) == ("weights",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"ultra"',
            '"dram"',
            "x: buffers.memory.weights must be one of auto, block, ultra, not 'd",
        ),
        ('"ultra"', "3", "buffers.memory.weights must be one of auto, block, ultra, not 3"),
        ('weights = "u', 'accumulators = "u', "unknown key buffers.memory.accumulators: allowed"),
        ("[buffers.memory]", "[[buffers.memory]]", "buffers.memory must be a table"),
    ],
)
def test_what_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(CelosiaError, match=message.replace("[", r"\[")):
        parse_accelerator(dump_accelerator(ULTRA).replace(old, new), "x")


def test_kinds_must_be_kinds() -> None:
    with pytest.raises(TypeError, match="weights must be a MemoryKind, not 'ultra'"):
        BufferMemories(weights="ultra")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="memories must be of type BufferMemories, not None"):
        replace(TINY, memories=None)


@pytest.mark.parametrize(
    ("depth", "width", "count"),
    [(1, 72, 1), (4096, 72, 1), (4097, 72, 2), (5000, 80, 3), (16384, 128, 8), (40000, 9, 2)],
)
def test_ultrarams_of_a_memory(depth: int, width: int, count: int) -> None:
    """As many as Yosys 0.70 makes of it."""
    assert ultra_blocks(depth, width) == count

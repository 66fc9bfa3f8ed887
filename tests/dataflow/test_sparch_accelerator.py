"""The description of a SpArch engine and its file form."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from celosia.dataflow.sparch.accelerator import Elements, ValueKind, WorkGrains
from celosia.dataflow.sparch.accelerator_file import dump_sparch, parse_sparch
from celosia.dataflow.sparch.presets import (
    PAPER,
    PUBLISHED,
    SPARCH_PRESETS,
    TINY,
    published,
)
from celosia.models.errors import CelosiaError


@pytest.mark.parametrize("name", SPARCH_PRESETS)
def test_a_file_brings_an_engine_back(name):
    table = tomllib.loads(dump_sparch(SPARCH_PRESETS[name]))
    assert parse_sparch(table, "engine.toml") == SPARCH_PRESETS[name]


def test_defaults_may_be_left_out():
    text = dump_sparch(TINY).replace("fraction = 0\n", "")
    assert parse_sparch(tomllib.loads(text), "engine.toml") == TINY


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "sparch_tiny"', "name = 3", "name must be a string"),
        ('name = "sparch_tiny"', 'name = "3"', "name must be letters"),
        ('kind = "integer"', 'kind = "posit"', r"kind must be one of .*, float32.*, not 'posit'"),
        ('kind = "integer"', 'kind = "float32"', r"bits must be in 32\.\.32, not 16"),
        ('kind = "integer"', 'kind = "bfloat16"', r"accumulator must be in 32\.\.32, not 40"),
        ("bits = 16\n", "bits = 7\n", r"bits must be in 8\.\.32, not 7"),
        ("fraction = 0", "fraction = 1", r"fraction must be in 0\.\.0, not 1"),
        ("accumulator = 40", "accumulator = 31", r"accumulator must be in 32\.\.64"),
        ("index_bits = 12", "index_bits = 7", r"index_bits must be in 8\.\.32"),
        ("index_bits = 12", "index_bits = true", "index_bits must be an integer"),
        ("width = 2", "width = 3", "width must be a power of two, not 3"),
        ("width = 2", "width = 32", r"width must be in 2\.\.16"),
        ("width = 2\nchunk = 2", "width = 4\nchunk = 3", "chunk must divide the width, 4, not 3"),
        ("ways = 4", "ways = 128", r"ways must be in 2\.\.64"),
        ("leaf_fifo = 32", "leaf_fifo = 4", "leaf_fifo must hold two windows of the merger, and a"),
        ("leaf_fifo = 32", "leaf_fifo = 24", "leaf_fifo must be a power of two"),
        (
            "width = 2\nchunk = 2\n\n[tree]\nways = 4\nleaf_fifo = 32\nnode_fifo = 32",
            "width = 8\nchunk = 8\n\n[tree]\nways = 4\nleaf_fifo = 16\nnode_fifo = 8",
            "node_fifo must hold two windows",
        ),
        ("lines = 32", "lines = 1", r"lines must be in 4\.\.4096"),
        ("line_beats = 2", "line_beats = 0", r"line_beats must be in 1\.\.64"),
        ("look_ahead = 12", "look_ahead = 31", r"look_ahead must be in 1\.\.30"),
        ("multipliers = 2", "multipliers = 4", "multipliers must be at most 2"),
        ("groups = 1", "groups = 3", "groups must be a power of two, not 3"),
        ("groups = 1", "groups = 16", r"groups must be in 1\.\.8"),
        ("writer_rows = 1", "writer_rows = 0", r"writer_rows must be in 1\.\.8"),
        ("writer_rows = 1", "writer_rows = 5", "writer_rows must be at most 4, the row pointers"),
        ("alive = 64", "alive = 1", r"alive must be in 2\.\.4096"),
        ("writer_beats = 16", "writer_beats = 15", "writer_beats must be a power of two"),
        ("data_bits = 128", "data_bits = 64", "a work record has 80 bits and must fit"),
        ("ways = 4", "ways = 4\nlayers = 2", r"unknown key tree\.layers"),
        ("ways = 4\n", "", r"key tree\.ways is missing"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused(old, new, message):
    text = dump_sparch(TINY)
    assert old in text
    with pytest.raises(CelosiaError, match=message):
        parse_sparch(tomllib.loads(text.replace(old, new)), "engine.toml")


def test_derived_widths():
    assert PAPER.elements.kind is ValueKind.FLOAT32
    assert (PAPER.right_lanes, PAPER.partial_lanes, PAPER.output_lanes) == (8, 6, 9)
    assert PAPER.line_elements == 48
    assert PAPER.grains == WorkGrains(head=2, value=2, row=2, address=2)
    assert PAPER.beat_grains == 32
    assert (PAPER.partial_burst, PAPER.pointer_lanes, PAPER.products) == (16, 16, 16)
    assert PAPER.tree.layers == 6
    assert not PAPER.merger.flat
    assert (TINY.grains.most, TINY.partial_lanes, TINY.partial_burst) == (6, 2, 8)
    assert TINY.merger.flat
    assert TINY.products == 2


def test_the_paper_s_organisation():
    """Sixteen multipliers in two groups, of which each takes a beat of the buffer."""
    assert (PUBLISHED.right.groups, PUBLISHED.right.multipliers) == (2, 8)
    assert (PUBLISHED.products, PUBLISHED.partials.writer_rows) == (PAPER.products, 1)
    assert PUBLISHED.bus == PAPER.bus
    wide = replace(PAPER, right=replace(PAPER.right, multipliers=8, groups=4))
    assert published(wide).right == wide.right  # a beat feeds no more than eight


def test_a_group_feeds_leaves_of_its_own():
    narrow = replace(TINY, tree=replace(TINY.tree, ways=2))
    with pytest.raises(ValueError, match=r"at most the ways of the tree, 2: .* not 4"):
        replace(narrow, right=replace(TINY.right, groups=4))


def test_parts_of_another_type_are_refused():
    with pytest.raises(TypeError, match="tree must be of type MergeTree"):
        replace(TINY, tree=3)
    with pytest.raises(TypeError, match="kind must be a ValueKind"):
        Elements(kind="integer")

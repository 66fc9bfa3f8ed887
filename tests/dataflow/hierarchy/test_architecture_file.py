"""Architectures as TOML: read back losslessly, refused in words."""

import pytest

from celosia.dataflow.hierarchy.architecture_file import (
    SHIPPED,
    dump_architecture,
    parse_architecture,
    read_architecture,
)
from celosia.dataflow.hierarchy.layer import Dim, Tensor
from celosia.models.errors import CelosiaError

from .architectures import deep, flat, lean, small


@pytest.mark.parametrize(
    "architecture",
    [*map(read_architecture, SHIPPED), small(), deep(), flat(), lean(6, 2)],
    ids=lambda architecture: architecture.name,
)
def test_files_are_read_back_losslessly(architecture):
    text = dump_architecture(architecture)
    assert parse_architecture(text, "again") == architecture
    assert dump_architecture(parse_architecture(text, "again")) == text


def test_shipped_architectures_are_for_comparison_only():
    assert SHIPPED == ("a", "b")
    for name in SHIPPED:
        architecture = read_architecture(name)
        assert architecture.comparison_only
        assert [axis.spreads for axis in architecture.axes] == [(Dim.K,), (Dim.C,)]
        assert architecture.level("acc").holds == (Tensor.OUTPUT,)
    sizes = {(n, read_architecture(n).level(m).words) for n in SHIPPED for m in ("glb", "acc")}
    assert sizes == {("a", 131072), ("a", 512), ("b", 2048), ("b", 32)}
    assert (read_architecture("a").energy_unit, read_architecture("a").time_unit) == (20, 32)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("words = 2048", "words = 0", "level 'glb': words must be a positive integer, not 0"),
        ('holds = ["W"]', "holds = []", "holds must name one or more tensors, each once"),
        ('holds = ["W"]', 'holds = ["X"]', r"level\[3\].holds must be one of I, W, O, not 'X'"),
        ('holds = ["W"]', 'holds = "W"', r"level\[3\].holds must be a list, not 'W'"),
        ("energy = 1.0", "energy = -1.0", "read_energy must be a number of pJ, 0 or more"),
        ("energy = 1.0", "energy = nan", "read_energy must be a number of pJ"),
        ("energy = 1.0", "energy = true", "read_energy must be a number of pJ, not True"),
        ("energy = 1.0", "energy = 0.0000001", "at most six digits behind the point"),
        ("energy = 1.0", "read_energy = 1.0", "either energy or both read_energy and write_en"),
        ("energy = 1.0", "energy = 1.0\nread_energy = 1.0", "either energy or both read_energy"),
        ('spreads = ["C"]', 'spreads = ["C", "C"]', "spreads must name one or more loops, each"),
        ('above = "reg"', 'above = "none"', "there is no level 'none': levels are dram, glb"),
        ('above = "reg"', 'above = "dram"', "axes must be given from the outermost"),
        ('above = "acc"', 'above = "dram"', "level 'dram', the outermost, cannot be copied"),
        ("size = 16", "size = 1.5", "axis 'columns': size must be a positive integer"),
        ('name = "reg"', 'name = "rows"', "the name 'rows' is given twice"),
        ('name = "reg"', 'name = "a b"', "name must be a word of letters, digits and _"),
        ('name = "b"', "name = 5", "architecture: name must be a word"),
        ("bandwidth = 16", "bandwidth = 16\nwords = 5", "the outermost, must hold I, W and O"),
        ('factors = "perfect"', 'factors = "some"', "factors must be one of perfect, imperfect"),
        ("slides = true", "slides = 1", "accounting.slides must be true or false, not 1"),
        ("slides = true", "glides = true", "unknown key accounting.glides"),
        ("comparison_only = true", 'comparison_only = "yes"', "comparison_only must be true or"),
        ("[mac]\nenergy = 0.25", "mac = 5", "mac must be a table, not 5"),
        ("[mac]\nenergy = 0.25", "", "key mac is missing"),
        ("[mac]", "[mac", "not a TOML file"),
        ("size = 16", "size = 1e9999999999999999999999", "must be a positive integer|not a TOML"),
    ],
)
def test_what_is_wrong_is_named(old, new, said):
    text = dump_shipped()
    assert old in text
    with pytest.raises(CelosiaError, match=said) as caught:
        parse_architecture(text.replace(old, new, 1), "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")


def dump_shipped():
    from celosia.dataflow.hierarchy import architecture_file

    folder = architecture_file.Path(architecture_file.__file__).parent / "architectures"
    return (folder / "b.toml").read_text()


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(CelosiaError, match="no architecture file c, and none of that name is"):
        read_architecture("c")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CelosiaError, match="cannot read architecture file"):
        read_architecture(tmp_path / "bad.toml")

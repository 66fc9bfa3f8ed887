# amaranth: UnusedElaboratable=no
"""The Verilog writer, and the Verilog of whole cores: distinct, deterministic, clean."""

from __future__ import annotations

import re

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.rtl.readable import readable
from celosia.rtl.shared import Apart, Shared
from celosia.rtl.verilog import count_modules, write_verilog


class Leaf(Shared):
    """A leaf: adds and
    keeps.

    More.
    """

    def __init__(self, width: int, name: str = "") -> None:
        self._width = width
        super().__init__(
            {"i": In(signed(width)), "o": Out(signed(2 * width))},
            name=name or f"leaf_{width}",
            parameters=(width,),
        )

    def build(self) -> Module:
        m = Module()
        kept = Signal(signed(self._width), reset_less=True)
        m.d.sync += kept.eq(kept + self.i)
        m.d.comb += self.o.eq(kept)
        return m


class Tree(Shared):
    """Several leaves."""

    def __init__(self, leaves: list[Leaf]) -> None:
        self._leaves = leaves
        super().__init__({"i": In(8), "o": Out(32)}, name="tree", parameters=())

    def build(self) -> Module:
        m = Module()
        total = Signal(32)
        for index, leaf in enumerate(self._leaves):
            m.submodules[f"leaf_{index}"] = leaf
            m.d.comb += leaf.i.eq(self.i)
        m.d.sync += total.eq(sum(leaf.o for leaf in self._leaves))
        m.d.comb += self.o.eq(total)
        return m


def test_each_component_once() -> None:
    text = write_verilog(Tree([Leaf(3), Leaf(5), Leaf(3), Leaf(3)]))
    assert re.findall(r"^module (\w+)\(", text, flags=re.M) == ["leaf_3", "leaf_5", "tree"]
    assert count_modules(text) == 3
    assert len(re.findall(r"^  leaf_3 leaf_\d \($", text, flags=re.M)) == 3
    assert "// A leaf: adds and keeps.\nmodule leaf_3(clk, i, o);" in text
    # A register without reset takes none; a sum that is cut is no wider than that.
    assert "rst" not in text.split("module leaf_3")[1].split("endmodule")[0]
    assert "{ 3{kept[2]} }" in text.split("module leaf_3")[1]
    assert "[3:0]" not in text.split("module leaf_3")[1].split("endmodule")[0]


class ApartLeaf(Leaf, Apart):
    """A leaf of which there are copies."""


def test_copies_are_marked() -> None:
    text = write_verilog(Tree([ApartLeaf(3, "copy"), ApartLeaf(3, "copy"), Leaf(3)]))
    assert re.findall(r"\(\* apart = 1'h1 \*\)\n  (\w+) leaf_\d \(", text) == ["copy", "copy"]


def test_deterministic_and_renamed() -> None:
    texts = {write_verilog(Tree([Leaf(3), Leaf(5)]), "other") for _ in range(2)}
    assert len(texts) == 1
    assert "module other(clk, rst, i, o);" in texts.pop()


def test_one_name_for_two_components() -> None:
    with pytest.raises(ValueError, match=r"module name 'leaf' stands for Leaf\(3,\) and for Leaf"):
        write_verilog(Tree([Leaf(3, "leaf"), Leaf(5, "leaf")]))


def test_name_wrong() -> None:
    with pytest.raises(ValueError, match="name must be a lower-case identifier, not 'Leaf 3'"):
        Leaf(3, "Leaf 3")


class Wrapped(Shared):
    """Has :class:`~celosia.rtl.shared.Shared` and ``code`` in its summary."""

    def __init__(self) -> None:
        layout = data.StructLayout({"word": 5, "at": data.StructLayout({"x": 2, "last": 1})})
        ports = {f"a_port_with_a_long_name_{n}": In(1) for n in range(9)}
        super().__init__({"i": In(layout), "o": Out(8)} | ports, name="wrapped", parameters=())

    def build(self) -> Module:
        m = Module()
        one, other = Signal(8, name="same"), Signal(8, name="same")
        m.d.sync += [one.eq(self.i.word), other.eq(one + self.i.at.x)]
        m.d.comb += self.o.eq(other)
        return m


def test_modules_are_readable() -> None:
    text = write_verilog(Wrapped())
    assert text.startswith(
        "// Has Shared and code in its summary.\n"
        "// i: word [4:0], at.x [6:5], at.last [7].\n"
        "module wrapped(\n    clk, rst, i, o, a_port_with_a_long_name_0, "
    )
    assert max(map(len, text.splitlines())) <= 100
    assert "\\" not in text
    assert "$" not in text
    assert "  input [7:0] i;\n" in text
    assert "wire [7:0] i;" not in text


FUNCTION = """\
module m(b, o);
  input [1:0] b;
  wire b_;
  function [1:0] f;
    input [1:0] a;
    input [3:0] b;
    input [1:0] s;
    casez (s)
      2'b?1:
        f = b[1:0];
      default:
        f = a;
    endcase
  endfunction
  assign o = f(2'b00, { b, b }, b);
endmodule
"""


def test_inputs_of_functions_hide_no_signal() -> None:
    text = readable(FUNCTION)
    body, call = text.split("endfunction")
    assert "    input [3:0] b__;" in body
    assert "f = b__[1:0];" in body
    assert "2'b?1:" in body
    assert "input [1:0] a;" in body
    assert "f(2'b00, { 2{b} }, b)" in call

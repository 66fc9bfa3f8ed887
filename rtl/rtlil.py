"""RTLIL as Amaranth writes it, made ready for the Verilog writer. Text in, text out."""

from __future__ import annotations

import re

NARROWED_CELL = re.compile(
    r"^  cell \$(?:add|sub|mul|neg|shl|sshl|and|or|xor|not) .*\n(?:    .*\n)*?"
    r"    parameter \\Y_WIDTH (?P<width>\d+)\n(?:    .*\n)*?"
    r"    connect \\Y (?P<output>\$\d+)\n",
    flags=re.M,
)
"""A cell whose low result bits depend on nothing but low operand bits."""

NAMELESS_USE = re.compile(r"(?<= )(\$\d+)(?= |$)(?: \[(\d+)(?::\d+)?\])?")
"""A nameless wire, and the highest bit of its slice where it is sliced."""


def tidy(text: str, name: str, ports: tuple[str, ...]) -> tuple[str, set[str]]:
    """Return the RTLIL of module ``name`` made ready to join others, and its clock and reset.

    Clock and reset become the first ports, or none where nothing uses them; ``ports`` follow in
    their order. Memories lose their
    initial zeros: a line for each row would bury the logic, and nothing reads a row that was
    not written.
    """
    # Parts without a module of their own are called name.part: no Verilog identifier.
    for part in re.findall(rf"^module \\({name}\.\S+)$", text, flags=re.M):
        text = re.sub(rf"\\{re.escape(part)}(?=\s)", "\\\\" + part.replace(".", "_"), text)
    text = re.sub(
        r"^  cell \$meminit_v2 (?:(?!^  end$).)*?connect \\DATA \d+'0*\n.*?^  end\n",
        "",
        text,
        flags=re.M | re.S,
    )
    text = "".join(_narrowed(module) for module in re.split(r"(?=^module )", text, flags=re.M))
    start = text.index(f"module \\{name}\n")
    end = text.index("\nend\n", start)
    top, clocks = text[start:end], set()
    index = {port: number for number, port in enumerate(("clk", "rst", *ports), 1)}
    top = re.sub(
        r"^(  wire .* (?:input|output) )\d+( .*\\(\w+))$",
        lambda port: f"{port[1]}{index[port[3]]}{port[2]}",
        top,
        flags=re.M,
    )
    for clock in ("clk", "rst"):
        found = re.search(rf"^  wire .* input \d+ .*\\{clock}$", top, flags=re.M)
        if found and len(re.findall(rf"\\{clock}(?=\s)", top)) == 1:
            top = re.sub(rf"^  wire .* \\{clock}\n", "", top, flags=re.M)
        elif found:
            clocks.add(clock)
    return text[:start] + top + text[end:], clocks


def _bits_used(module: str) -> dict[str, int]:
    """Return how many low bits are used of each nameless wire that is only used in slices."""
    used: dict[str, int] = {}
    whole = set()
    for line in module.splitlines():
        if line.startswith(("  wire ", "    connect \\Y ", "  cell ")):
            continue
        for use in NAMELESS_USE.finditer(line):
            if use[2] is None:
                whole.add(use[1])
            else:
                used[use[1]] = max(used.get(use[1], 0), int(use[2]) + 1)
    return {wire: bits for wire, bits in used.items() if wire not in whole}


def _narrowed(module: str) -> str:
    """Return a module whose arithmetic is no wider than what is used of it.

    Amaranth's arithmetic never overflows, so what goes to 32 bits is computed with 33 and cut;
    that is harder to read, and slower to simulate.
    """
    used = _bits_used(module)
    narrowed: dict[str, int] = {}

    def narrow(cell: re.Match[str]) -> str:
        width = int(cell["width"])
        needed = used.get(cell["output"], width)
        if needed >= width:
            return cell[0]
        narrowed[cell["output"]] = needed
        return cell[0].replace(f"\\Y_WIDTH {width}\n", f"\\Y_WIDTH {needed}\n")

    def resize(wire: re.Match[str]) -> str:
        return f"  wire width {narrowed.get(wire['name'], wire['width'])} {wire['name']}"

    module = NARROWED_CELL.sub(narrow, module)
    wires = re.compile(r"^  wire width (?P<width>\d+) (?P<name>\$\d+)$", flags=re.M)
    return wires.sub(resize, module)

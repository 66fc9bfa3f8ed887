"""Verilog as Yosys writes it, made readable. Text in, text out, the same hardware."""

from __future__ import annotations

import re

WIDTH = 100
"""Columns that port lists and comments are wrapped at."""

_NAME = r"(?:\\\S+ |[a-z_]\w*)"


def readable(verilog: str) -> str:
    """Return the text of one module without Yosys's crutches.

    - Yosys triggers every ``always @*`` with a register of its own, for blocks that read nothing;
      Amaranth makes no such blocks.
    - A comparison with 0 becomes a reduction, as lint asks for; sign extensions become
      replications.
    - Names that differ from others by ``$`` and a number become plain identifiers.
    - Inputs of functions that hide a signal of the module get other names.
    - Ports are declared once, with their kind, and listed in lines that fit a screen.

    Registers keep a block each: sharing one reads better, but Verilator makes a simulation of it
    that is a fifth slower.
    """
    verilog = re.sub(r"^ *reg \\\$auto\$verilog_backend\S+ +(?:= 0)?;\n", "", verilog, flags=re.M)
    verilog = re.sub(
        r"^ *if \(\\\$auto\$verilog_backend\S+ \) begin end\n", "", verilog, flags=re.M
    )
    verilog = re.sub(r"^ *\(\* unused_bits = .*\n", "", verilog, flags=re.M)
    verilog = re.sub(r"(?<= )! (?=[({\\\w])", "~| ", verilog)
    verilog = re.sub(
        rf"(?<![\w\]])({_NAME}(?:\[\d+\])?)((?:, \1(?![\w\[]))+)",
        lambda match: f"{{ {match[2].count(match[1]) + 1}{{{match[1]}}} }}",
        verilog,
    )
    verilog = re.sub(r"\{ (\{ \d+\{[^{}]*\} \}) \}", r"\1", verilog)
    return _header(_ports(_functions(_plain_names(verilog))))


def _plain_names(verilog: str) -> str:
    """Give names that are no words plain ones; escaped words of the language stay as they are."""
    taken = set(re.findall(r"\w+", verilog))
    plain: dict[str, str] = {}

    def rename(match: re.Match[str]) -> str:
        name = match[1]
        if name not in plain:
            candidate = re.sub(r"\W+", "_", name).strip("_")
            if not candidate[:1].isalpha():
                candidate = f"net_{candidate}"
            while candidate in taken:
                candidate += "_"
            taken.add(candidate)
            plain[name] = candidate
        return plain[name]

    return re.sub(r"\\(\S*[^\w\s]\S*) ", rename, verilog)


_FUNCTION = re.compile(r"^  function .*?^  endfunction\n", flags=re.M | re.S)


def _functions(verilog: str) -> str:
    """Rename those inputs of functions, ``a``, ``b`` and ``s``, that the module has a signal of."""
    outside = set(re.findall(r"(?<!')\b\w+", _FUNCTION.sub("", verilog)))
    names = {name: name for name in ("a", "b", "s")}
    for name in names:
        while names[name] in outside:
            names[name] += "_"

    def renamed(match: re.Match[str]) -> str:
        # Not the base of a number.
        return re.sub(r"(?<!')\b[abs]\b", lambda name: names[name[0]], match[0])

    return _FUNCTION.sub(renamed, verilog)


def _ports(verilog: str) -> str:
    """Declare each port in one line."""
    verilog = re.sub(
        rf"^(  (?:input|output) )((?:\[\d+:\d+\] )?{_NAME};\n)  wire \2",
        r"\1\2",
        verilog,
        flags=re.M,
    )
    return re.sub(
        rf"^  output ((?:\[\d+:\d+\] )?{_NAME});\n  reg \1(?= = |;)",
        r"  output reg \1",
        verilog,
        flags=re.M,
    )


def _header(verilog: str) -> str:
    """Wrap the port list."""
    head, rest = verilog.split(");\n", 1)
    name, ports = head.split("(", 1)
    listed = re.findall(r"[^\s,]+", ports)
    listed = [f"{port} " if port.startswith("\\") else port for port in listed]
    line = f"{name}({', '.join(listed)});"
    if len(line) > WIDTH:
        line = f"{name}(\n    {listed[0]}"
        for port in listed[1:]:
            end = len(line) - line.rindex("\n")
            line += f", {port}" if end + len(port) + 3 <= WIDTH else f",\n    {port}"
        line += "\n);"
    return f"{line}\n{rest}"

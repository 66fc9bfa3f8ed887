"""The Verilog writer: a module for each distinct component, the same bytes for the same input."""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from amaranth._toolchain.yosys import find_yosys
from amaranth.hdl import ClockSignal, Const, Instance, ResetSignal
from amaranth.hdl import _ir as ir

from celosia.rtl.readable import WIDTH, readable
from celosia.rtl.rtlil import tidy
from celosia.rtl.shared import Apart, Primitive, Shared

rtlil: Any = importlib.import_module("amaranth.back.rtlil")  # which the type stubs leave out

OLDEST_YOSYS = (0, 40, 0)
"""What Amaranth 0.5 asks of Yosys."""

SCRIPT = """\
read_rtlil <<rtlil
{rtlil}
rtlil
proc -norom
memory_collect
opt_dff
opt_clean -purge
attrmap -remove generator -remove top -remove src -remove amaranth.hierarchy \
-remove amaranth.decoding
attrmap -modattr -remove generator -remove top -remove src -remove amaranth.hierarchy
write_verilog
"""
"""As Amaranth's own, and without wires that only rename others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Emitted:
    """One module: its RTLIL, which of clock and reset it takes, and whose it is."""

    rtlil: str
    clock: bool
    reset: bool
    kind: type[Shared]
    parameters: tuple[object, ...]
    summary: str
    fields: tuple[str, ...]


class VerilogWriter:
    """Collects the modules of a design; the platform that :class:`Shared` components know.

    With ``primitives``, components that are a :class:`Primitive` hold that, otherwise its model.

    Raises ``ValueError`` when two different components have one module name.
    """

    def __init__(self, *, primitives: bool = False) -> None:
        self._modules: dict[str, _Emitted] = {}
        self._converting: list[Shared] = []
        self._primitives = primitives
        self._found: list[Primitive] = []

    @property
    def found(self) -> tuple[Primitive, ...]:
        """The primitives among the components emitted, one for each module."""
        return tuple(self._found)

    def instantiate(self, component: Shared) -> Any:
        """Return an instance of ``component``'s module, which is emitted if it is new."""
        if self._converting and component is self._converting[-1]:
            if self._primitives and isinstance(component, Primitive):
                return component.build_primitive()
            return component.build()
        emitted = self.emit(component)
        connections = {
            f"{'i' if is_input else 'o'}_{name}": value
            for name, value, is_input in component.port_values()
        }
        if isinstance(component, Apart):
            connections["a_apart"] = Const(1)
        if emitted.clock:
            connections["i_clk"] = ClockSignal()
        if emitted.reset:
            connections["i_rst"] = (
                ResetSignal() if component.unit_reset is None else component.unit_reset
            )
        return Instance(component.module_name, **connections)

    def emit(self, component: Shared) -> _Emitted:
        """Emit the module of ``component`` and of all it holds, unless known."""
        name = component.module_name
        known = self._modules.get(name)
        if known is None:
            known = self._convert(component)
            self._modules[name] = known
            if isinstance(component, Primitive):
                self._found.append(component)
        elif known.kind is not type(component) or known.parameters != component.parameters:
            raise ValueError(
                f"module name {name!r} stands for {known.kind.__name__}{known.parameters!r} "
                f"and for {type(component).__name__}{component.parameters!r}"
            )
        return known

    def _convert(self, component: Shared) -> _Emitted:
        name = component.module_name
        ports = {
            port: (value, ir.PortDirection.Input if is_input else ir.PortDirection.Output)
            for port, value, is_input in component.port_values()
        }
        self._converting.append(component)
        text = rtlil.convert(component, name, self, ports=ports, emit_src=False)
        self._converting.pop()
        text, clocks = tidy(text, name, tuple(ports))
        return _Emitted(
            rtlil=text,
            clock="clk" in clocks,
            reset="rst" in clocks,
            kind=type(component),
            parameters=component.parameters,
            summary=component.summary,
            fields=tuple(component.port_fields()),
        )

    def modules(self) -> dict[str, str]:
        """Return the Verilog of each module emitted, by name, parts before what holds them."""
        source = "\n".join(module.rtlil for module in self._modules.values())
        verilog = find_yosys(lambda version: version >= OLDEST_YOSYS).run(
            ["-q", "-"], SCRIPT.format(rtlil=source), ignore_warnings=True
        )
        found = {
            match[1]: match[0]
            for match in re.finditer(r"^module (\S+)\(.*?^endmodule$", verilog, flags=re.M | re.S)
        }
        order = [
            *(name for name in found if name not in self._modules),
            *(name for name in self._modules if name in found),
        ]
        return {name: self._headed(name, found[name]) for name in order}

    def _headed(self, name: str, text: str) -> str:
        """Return the module with a comment before it: what it is, and the fields of its ports."""
        module = self._modules.get(name)
        notes = () if module is None else (module.summary, *module.fields)
        lines = [line for note in notes for line in textwrap.wrap(note, width=WIDTH - 3)]
        return "".join(f"// {line}\n" for line in lines) + readable(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerilogParts:
    """The Verilog of a design in parts: what any tool takes, and primitives and their models.

    ``logic`` goes with either ``models`` or ``primitives``, which have the same modules; both are
    empty where the design has no :class:`Primitive`.
    """

    logic: str
    models: str
    primitives: str


def write_parts(component: Shared) -> VerilogParts:
    """Return the Verilog-2001 text of ``component`` and everything it holds, in parts.

    Raises ``ValueError`` as :func:`write_verilog` does.
    """
    writer = VerilogWriter()
    writer.emit(component)
    modules = writer.modules()
    blocks = VerilogWriter(primitives=True)
    for primitive in writer.found:
        blocks.emit(primitive)
    names = {primitive.module_name for primitive in writer.found}
    return VerilogParts(
        logic=_joined(text for name, text in modules.items() if name not in names),
        models=_joined(text for name, text in modules.items() if name in names),
        primitives=_joined(blocks.modules().values() if names else ()),
    )


def _joined(modules: Iterable[str]) -> str:
    return "\n".join(f"{text}\n" for text in modules)


def write_verilog(component: Shared, name: str | None = None, *, primitives: bool = False) -> str:
    """Return the Verilog-2001 text of ``component`` and everything it holds.

    Each distinct :class:`Shared` component is one module. The same component gives the same
    bytes, on any machine; no file paths are in them.

    Parameters
    ----------
    component : Shared
        The top.
    name : str, optional
        Name of the top module; ``component.module_name`` by default.
    primitives : bool, optional
        Whether components that are a :class:`Primitive` hold that, for tools that know it, and
        not its model.

    Raises
    ------
    ValueError
        When two different components have one module name.
    """
    writer = VerilogWriter(primitives=primitives)
    writer.emit(component)
    text = _joined(writer.modules().values())
    if name is not None and name != component.module_name:
        text = re.sub(rf"^module {component.module_name}\(", f"module {name}(", text, flags=re.M)
    return text


def count_modules(verilog: str) -> int:
    """Return how many modules ``verilog`` defines."""
    return len(re.findall(r"^module ", verilog, flags=re.M))

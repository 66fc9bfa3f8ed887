"""The core's description for IP tools: IP-XACT (IEEE 1685-2009), as Vivado's packager writes it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from celosia.dataflow.engines import Description
from celosia.rtl.core import core_name, core_ports, core_registers
from celosia.rtl.registers import ADDRESS_BITS, Access, Register

NAMESPACE = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
VENDOR, LIBRARY = "celosia", "accelerators"
CONTROL = "s_axi_ctrl"
ACCESS = {
    Access.CONSTANT: "read-only",
    Access.READ: "read-only",
    Access.READ_WRITE: "read-write",
    Access.COMMAND: "write-only",
}


def memory_ports(accelerator: Description) -> tuple[str, ...]:
    """Return the names of the core's AXI masters: what their ports' names begin with."""
    found = [re.match(r"(m_axi_\w+)_araddr$", name) for name, _, _ in core_ports(accelerator)]
    return tuple(match[1] for match in found if match)


def render_component(accelerator: Description, *, version: str, sources: tuple[str, ...]) -> str:
    """Return ``component.xml`` of the core: bus interfaces, memory map, ports and files.

    Parameters
    ----------
    accelerator : Description
        What the core is.
    version : str
        Version of the core, such as ``1.0``.
    sources : tuple[str, ...]
        Verilog files, relative to ``component.xml``.
    """
    ET.register_namespace("spirit", NAMESPACE)
    top = core_name(accelerator)
    root = _element("component")
    for name, text in (
        ("vendor", VENDOR),
        ("library", LIBRARY),
        ("name", top),
        ("version", version),
    ):
        _add(root, name, text)
    ports = core_ports(accelerator)
    widths = {name: width for name, width, _ in ports}
    memory = memory_ports(accelerator)
    _interfaces(root, list(widths), memory)
    spaces = _add(root, "addressSpaces")
    for name in memory:
        space = _add(spaces, "addressSpace")
        _add(space, "name", name)
        _add(space, "range", str(1 << widths[f"{name}_araddr"]))
        _add(space, "width", str(widths[f"{name}_rdata"]))
    _memory_map(root, core_registers(accelerator))
    _model(root, top, ports)
    files = _add(_add(root, "fileSets"), "fileSet")
    _add(files, "name", "verilog")
    for source in sources:
        file = _add(files, "file")
        _add(file, "name", source)
        _add(file, "fileType", "verilogSource")
    _add(root, "description", "Celosia accelerator " + accelerator.name)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, "unicode") + "\n"


def _element(name: str) -> ET.Element:
    return ET.Element(f"{{{NAMESPACE}}}{name}")


def _add(parent: ET.Element, tag: str, text: str | None = None, /, **attributes: str) -> ET.Element:
    named = {f"{{{NAMESPACE}}}{key}": value for key, value in attributes.items()}
    child = ET.SubElement(parent, f"{{{NAMESPACE}}}{tag}", named)
    child.text = text
    return child


def _interfaces(root: ET.Element, ports: list[str], memory: tuple[str, ...]) -> None:
    interfaces = _add(root, "busInterfaces")

    def interface(name: str, library: str, kind: str) -> ET.Element:
        bus = _add(interfaces, "busInterface")
        _add(bus, "name", name)
        vendor = {"vendor": "xilinx.com", "library": library, "version": "1.0"}
        _add(bus, "busType", name=kind, **vendor)
        _add(bus, "abstractionType", name=f"{kind}_rtl", **vendor)
        return bus

    def connect(bus: ET.Element, pairs: list[tuple[str, str]]) -> None:
        maps = _add(bus, "portMaps")
        for logical, physical in pairs:
            pair = _add(maps, "portMap")
            _add(_add(pair, "logicalPort"), "name", logical)
            _add(_add(pair, "physicalPort"), "name", physical)

    def parameter(bus: ET.Element, name: str, value: str) -> None:
        parameters = bus.find(f"{{{NAMESPACE}}}parameters")
        entry = _add(_add(bus, "parameters") if parameters is None else parameters, "parameter")
        _add(entry, "name", name)
        _add(entry, "value", value)

    for prefix in (CONTROL, *memory):
        bus = interface(prefix, "interface", "aximm")
        if prefix == CONTROL:
            _add(_add(bus, "slave"), "memoryMapRef", memoryMapRef=CONTROL)
        else:
            _add(_add(bus, "master"), "addressSpaceRef", addressSpaceRef=prefix)
        mine = [port for port in ports if port.startswith(f"{prefix}_")]
        connect(bus, [(port.removeprefix(f"{prefix}_").upper(), port) for port in mine])
    for name, kind, logical, (key, value) in (
        ("aclk", "clock", "CLK", ("ASSOCIATED_BUSIF", ":".join((CONTROL, *memory)))),
        ("aresetn", "reset", "RST", ("POLARITY", "ACTIVE_LOW")),
        ("interrupt", "interrupt", "INTERRUPT", ("SENSITIVITY", "LEVEL_HIGH")),
    ):
        bus = interface(name, "signal", kind)
        _add(bus, "master" if name == "interrupt" else "slave")
        connect(bus, [(logical, name)])
        parameter(bus, key, value)
        if name == "aclk":
            parameter(bus, "ASSOCIATED_RESET", "aresetn")


def _memory_map(root: ET.Element, registers: tuple[Register, ...]) -> None:
    memory_map = _add(_add(root, "memoryMaps"), "memoryMap")
    _add(memory_map, "name", CONTROL)
    block = _add(memory_map, "addressBlock")
    _add(block, "name", "registers")
    _add(block, "baseAddress", "0x0")
    _add(block, "range", str(1 << ADDRESS_BITS))
    _add(block, "width", "32")
    _add(block, "usage", "register")
    for register in registers:
        entry = _add(block, "register")
        _add(entry, "name", register.name)
        _add(entry, "description", register.doc)
        _add(entry, "addressOffset", hex(register.offset))
        _add(entry, "size", "32")
        _add(entry, "access", ACCESS[register.access])
        _add(_add(entry, "reset"), "value", hex(register.reset))
        for part in register.fields:
            bits = _add(entry, "field")
            _add(bits, "name", part.name)
            _add(bits, "description", part.doc)
            _add(bits, "bitOffset", str(part.low))
            _add(bits, "bitWidth", str(part.width))


def _model(root: ET.Element, top: str, ports: list[tuple[str, int, bool]]) -> None:
    model = _add(root, "model")
    view = _add(_add(model, "views"), "view")
    _add(view, "name", "verilog")
    _add(view, "envIdentifier", "verilogSource::")  # language:tool:vendor, any tool
    _add(view, "language", "verilog")
    _add(view, "modelName", top)
    _add(_add(view, "fileSetRef"), "localName", "verilog")
    listed = _add(model, "ports")
    for name, width, is_input in ports:
        port = _add(listed, "port")
        _add(port, "name", name)
        wire = _add(port, "wire")
        _add(wire, "direction", "in" if is_input else "out")
        if width > 1:
            vector = _add(wire, "vector")
            _add(vector, "left", str(width - 1))
            _add(vector, "right", "0")

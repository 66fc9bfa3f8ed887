"""Components that the Verilog writer emits once, however often they are instantiated."""

from __future__ import annotations

import abc
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from amaranth.hdl import Module, ResetInserter, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Member


def _fields(layout: data.Layout, prefix: str = "", base: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yield (name, lowest bit, bits) of each field of ``layout`` and of those within."""
    for key, field in layout:
        name, shape = f"{prefix}{key}", field.shape
        if isinstance(shape, data.StructLayout):
            yield from _fields(shape, f"{name}.", base + field.offset)
        elif field.width:
            yield name, base + field.offset, field.width


@runtime_checkable
class Sharer(Protocol):
    """A platform that turns a shared component into an instance of its one module."""

    def instantiate(self, component: Shared) -> Any:
        """Return an instance of ``component``'s module, connected to its ports."""
        ...


def flat_ports(interface: Any) -> Iterator[tuple[str, Value, bool]]:
    """Yield (Verilog name, value, whether it is an input) of each port of ``interface``."""
    for path, member, value in interface.signature.flatten(interface):
        yield "_".join(map(str, path)), Value.cast(value), member.flow == In


class Shared(wiring.Component):
    """A component with a module of its own in the generated Verilog, written once.

    Amaranth's back end writes a module for each *instance*; components derived from this class
    are written once for all instances of one ``module_name``. A subclass overrides
    :meth:`build` and not ``elaborate``. On any platform but the Verilog writer (the Amaranth
    simulator, for one) it elaborates like any component. One clock domain, ``sync``.

    Parameters
    ----------
    ports : Mapping[str, Member]
        The ports, as for ``wiring.Component``.
    name : str
        Module name; a lower-case Verilog identifier that holds the parameters in short,
        such as ``column_sp2_4_c16_x4``.
    parameters : tuple
        All that the module depends on. Two components of one name must have the same class
        and equal parameters; the writer refuses them otherwise.

    Members
    -------
    The ports given.

    Raises
    ------
    ValueError
        When ``name`` is no lower-case identifier.
    """

    def __init__(
        self, ports: Mapping[str, Member], *, name: str, parameters: tuple[object, ...]
    ) -> None:
        if not name.isidentifier() or name != name.lower() or not name.isascii():
            raise ValueError(f"name must be a lower-case identifier, not {name!r}")
        self._name = name
        self._parameters = parameters
        self._reset_by: Value | None = None
        super().__init__(dict(ports))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Ports are attributes that the signature makes, unknown to type checkers."""

    @property
    def module_name(self) -> str:
        """Name of the Verilog module."""
        return self._name

    @property
    def parameters(self) -> tuple[object, ...]:
        """What the module depends on."""
        return self._parameters

    @property
    def summary(self) -> str:
        """First paragraph of the class's docstring, on one line, without markup."""
        text = " ".join((inspect.getdoc(type(self)) or "").split("\n\n")[0].split())
        return re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", text).replace("``", "")

    def port_fields(self) -> Iterator[str]:
        """Yield ``port: field [bits], ...`` of each port that is a structure."""
        for path, _, value in self.signature.flatten(self):
            if isinstance(value, data.View) and isinstance(value.shape(), data.StructLayout):
                fields = (
                    f"{name} [{low + width - 1}:{low}]" if width > 1 else f"{name} [{low}]"
                    for name, low, width in _fields(value.shape())
                )
                yield f"{'_'.join(map(str, path))}: {', '.join(fields)}."

    def port_values(self) -> Iterator[tuple[str, Value, bool]]:
        """Return an iterator over (Verilog name, value, whether it is an input) of the ports."""
        return flat_ports(self)

    @property
    def unit_reset(self) -> Value | None:
        """What resets it in place of the domain's reset."""
        return self._reset_by

    def reset_by(self, reset: Value) -> Self:
        """Reset this component when ``reset`` is 1, which the domain's must lead to; return it.

        The Verilog's instance takes no other. ``ResetInserter`` does not reach one.
        """
        self._reset_by = reset
        return self

    @abc.abstractmethod
    def build(self) -> Module:
        """Return the module's contents."""

    def elaborate(self, platform: object) -> Any:
        if isinstance(platform, Sharer):
            return platform.instantiate(self)
        contents: Any = self.build()
        return contents if self._reset_by is None else ResetInserter(self._reset_by)(contents)


class Primitive(Shared):
    """A component that is one block of some family of devices.

    :meth:`build` is its model, which any tool takes; :meth:`build_primitive` holds the block
    itself, for tools that know it. Both have the same bits in the same cycles, and take the clock.
    """

    @abc.abstractmethod
    def build_primitive(self) -> Module:
        """Return the module's contents where the device has the block."""


class Apart(Shared):
    """A component whose registers are copies of others', each for what lies near it.

    Where a flow flattens, equal registers become one that reaches across the whole device. Its
    instances have the attribute ``apart`` in the Verilog; the flow for ECP5 boards keeps such ones
    whole until that is over. Others may make one register of them.
    """

"""The integer-exact network: what every later floor implements bit for bit.

After import, fusion and quantisation a network is a list of a few kinds of
operation on integer tensors. The list is in execution order; every tensor is
written once. Everything here is a frozen value; the functions that evaluate it
are in :mod:`celosia.models.golden`, its file form in :mod:`celosia.models.storage`.

Axis order: activations ``C H W`` (one sample), weights ``O I FY FX`` (``I`` is
the number of input channels of one group, as in PyTorch).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from celosia.models.checks import check_name, check_range, integers, read_only
from celosia.models.formats import BlockScaling, Element, Fixed, Format, check_elements, rows_of
from celosia.models.lstm import Lstm
from celosia.models.operations import MULTIPLY, Operation
from celosia.models.sparse import SparseLinear
from celosia.models.tables import MAX_INDEX, Table

MULTIPLIER_BITS = 18
"""Width of the requantisation multipliers, two's complement."""

MAX_SHIFT = 47
"""Largest right shift of a requantisation."""

MAX_ACCUMULATOR_BITS = 44
"""Widest accumulator of any accelerator; no operation may need more."""

MAX_WIDE_BITS = 25
"""Bits of the widest requantised value that becomes an element and a scale, two's complement."""

MAX_ACTIVATION_BITS = 16
"""Widest activation code."""


class Rounding(enum.Enum):
    """How a right shift rounds: ties to even (the default) or towards plus infinity."""

    HALF_EVEN = 0
    HALF_UP = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """An activation tensor of one sample: integer codes less ``zero``, times ``scale``.

    ``shape`` is (channels, height, width), all positive. ``format`` is a
    :class:`Fixed` of at most 16 bits; ``scale`` is the real value of one code more. ``zero`` is
    the code of the real 0, and what padding holds; convolutions take codes as they are.

    With ``scaling`` the codes are elements, values of ``format``, which may be an :class:`Esb` too,
    and each vector of channels at a pixel has a scale that they are multiplied by. The scales are
    a small tensor of their own, ``scales_name``, of shape ``scales_shape``, made with the elements;
    it holds codes of the scale format. Element 1 times scale 1 stands for ``scale``.
    """

    name: str
    shape: tuple[int, int, int]
    format: Element
    scale: float
    scaling: BlockScaling | None = None
    zero: int = 0

    def __post_init__(self) -> None:
        check_name("tensor", self.name)
        if len(self.shape) != 3 or not integers(self.shape) or min(self.shape) < 1:
            raise ValueError(
                f"tensor {self.name!r}: shape must be (C, H, W), all positive, not {self.shape!r}"
            )
        if self.scaling is None and not isinstance(self.format, Fixed):
            raise TypeError(f"tensor {self.name!r}: format must be Fixed, not {self.format!r}")
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(
                f"tensor {self.name!r}: scale must be positive and finite, not {self.scale!r}"
            )
        if not integers((self.zero,)) or not self.format.low <= self.zero <= self.format.high:
            raise ValueError(
                f"tensor {self.name!r}: zero must be a code of {self.format.name}, "
                f"not {self.zero!r}"
            )
        if self.scaling is not None:
            self._check_scaling(self.scaling)

    def _check_scaling(self, scaling: BlockScaling) -> None:
        if not isinstance(scaling, BlockScaling):
            raise TypeError(f"tensor {self.name!r}: scaling must be a BlockScaling: {scaling!r}")
        try:
            check_elements(self.format)
        except (TypeError, ValueError) as error:
            raise type(error)(f"tensor {self.name!r}: {error}") from error
        if self.zero:
            raise ValueError(
                f"tensor {self.name!r}: zero must be 0 where there are scales, not {self.zero}"
            )
        if self.limit < 1 or self.limit >= 1 << MAX_WIDE_BITS - 1:
            raise ValueError(
                f"tensor {self.name!r}: an element times its scale must be in 1..2**"
                f"{MAX_WIDE_BITS - 1}, {self.format.name} with {scaling.scale.name} is not"
            )

    @property
    def limit(self) -> int:
        """Largest magnitude of a value; of an element times its scale where there are scales."""
        return self.format.high * (1 if self.scaling is None else self.scaling.scale.top)

    @property
    def scales_name(self) -> str:
        """Name of the tensor of its scales."""
        return f"{self.name}/scales"

    @property
    def scales_shape(self) -> tuple[int, int, int]:
        """Shape of the tensor of its scales: (vectors, height, width)."""
        vector = 1 if self.scaling is None else self.scaling.vector
        return -(-self.shape[0] // vector), *self.shape[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Geometry of a sliding window. All pairs are (vertical, horizontal).

    ``padding`` is (top, left, bottom, right) and already holds what ceil mode
    adds below and to the right, so ``out = (in + pads - extent) // stride + 1``.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        for field, length in (("kernel", 2), ("stride", 2), ("dilation", 2), ("padding", 4)):
            value = getattr(self, field)
            if not isinstance(value, tuple) or len(value) != length or not integers(value):
                raise TypeError(f"window {field} must be {length} integers, not {value!r}")
        if min(*self.kernel, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise ValueError(
                "window must have positive kernel, stride and dilation and no negative padding: "
                f"{self!r}"
            )

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width covered by one window in the input."""
        (ky, kx), (dy, dx) = self.kernel, self.dilation
        return dy * (ky - 1) + 1, dx * (kx - 1) + 1

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the output for an input of ``height x width``."""
        top, left, bottom, right = self.padding
        ey, ex = self.extent
        return (
            (height + top + bottom - ey) // self.stride[0] + 1,
            (width + left + right - ex) // self.stride[1] + 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requant:
    """From accumulator to output code, per output channel, all exact integers.

    ``v = acc + bias``; ``p = v * (negative if v < 0 else positive) + r * residual``
    where ``r`` is the residual operand's code (0 without one);
    ``y = clamp(round(p / 2**shift), low, high)``.

    Arrays are int64 of shape (O,). Multipliers fit ``MULTIPLIER_BITS`` bits two's
    complement; ``shift`` is in 0..MAX_SHIFT. ReLU is ``negative = 0`` or ``low = 0``,
    PReLU a ``negative`` of its own, no activation ``negative == positive``. Any other
    function is a ``table``: then the output code is its entry ``y - low``. The
    constructor keeps read-only copies of the arrays.
    """

    bias: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    residual: np.ndarray
    shift: np.ndarray
    low: int
    high: int
    rounding: Rounding = Rounding.HALF_EVEN
    table: Table | None = None

    def __post_init__(self) -> None:
        for field in ("bias", "positive", "negative", "residual", "shift"):
            value = read_only(f"requant {field}", getattr(self, field), 1)
            if len(value) != len(self.bias):
                raise ValueError(
                    f"requant {field} must have {len(self.bias)} entries like bias, "
                    f"not {len(value)}"
                )
            object.__setattr__(self, field, value)
        limit = 1 << (MAX_ACCUMULATOR_BITS - 1)
        check_range("requant bias", self.bias, -limit, limit - 1)
        limit = 1 << (MULTIPLIER_BITS - 1)
        for field in ("positive", "negative", "residual"):
            check_range(f"requant {field}", getattr(self, field), -limit, limit - 1)
        check_range("requant shift", self.shift, 0, MAX_SHIFT)
        if not integers((self.low, self.high)) or self.low > self.high:
            raise ValueError(
                f"requant low must be an integer at most high, not {self.low!r} and {self.high!r}"
            )
        if not isinstance(self.rounding, Rounding):
            raise TypeError(f"requant rounding must be a Rounding, not {self.rounding!r}")
        if self.table is not None:
            self._check_table(self.table)

    def _check_table(self, table: Table) -> None:
        if not isinstance(table, Table):
            raise TypeError(f"requant table must be a Table, not {table!r}")
        if self.low < -MAX_INDEX or self.high > MAX_INDEX:
            raise ValueError(
                f"requant low and high must be in {-MAX_INDEX}..{MAX_INDEX} where there is a "
                f"table, not {self.low} and {self.high}"
            )
        if len(table.values) != self.high - self.low + 1:
            raise ValueError(
                f"requant table must have an entry for each of {self.low}..{self.high}, not "
                f"{len(table.values)} entries"
            )

    @property
    def ends(self) -> tuple[int, int]:
        """Least and greatest output code."""
        if self.table is None:
            return self.low, self.high
        return int(self.table.values.min()), int(self.table.values.max())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightScales:
    """What the weights of a convolution are multiplied by, vector by vector.

    ``values`` (int64, ``O B FY FX``, values of ``scaling.scale``) has a scale for each of the B
    vectors of ``scaling.vector`` consecutive input channels of a group, at each kernel position;
    the last vector may be short. No scale is 0: a vector of zeros has weights of 0, and any scale.
    The constructor keeps a read-only copy.
    """

    scaling: BlockScaling
    values: np.ndarray

    def __post_init__(self) -> None:
        if not isinstance(self.scaling, BlockScaling):
            raise TypeError(f"scaling must be a BlockScaling, not {self.scaling!r}")
        object.__setattr__(self, "values", read_only("scales", self.values, 4))
        wrong = ~np.isin(self.values, self.scaling.scale.values)
        if wrong.any():
            raise ValueError(
                f"scale {int(self.values[wrong][0])} is not a value of {self.scaling.scale.name}"
            )
        if not self.values.all():
            row, vector, y, x = np.argwhere(self.values == 0)[0].tolist()
            raise ValueError(
                f"the scale of row {row}, vector {vector}, kernel position ({y}, {x}) is zero, "
                "which makes nothing of its weights: give it another scale, and weights of 0 "
                "where a vector is to be 0"
            )

    def spread(self, channels: int) -> np.ndarray:
        """Return the scale of each weight, int64 (O, channels, FY, FX)."""
        return np.repeat(self.values, self.scaling.vector, axis=1)[:, :channels]


def scales_step(weights: BlockScaling | None, activations: BlockScaling | None) -> int:
    """Return :meth:`Conv.product_step` for scales of weights and of inputs."""
    return 1 << activations.dropped_bits if weights and activations else 1


def scaled_weights(
    weights: np.ndarray, scales: WeightScales | None, activations: BlockScaling | None
) -> np.ndarray:
    """Return the weights times what their vectors are multiplied by at most, int64 ``O I FY FX``.

    Exactly what they are multiplied by where inputs have no scales (``activations`` is None);
    otherwise the greatest that any input makes of it.
    """
    if scales is None and activations is None:
        return weights
    spread = np.ones_like(weights) if scales is None else scales.spread(weights.shape[1])
    if activations is not None:
        most = np.array(activations.scale.top)
        spread = spread * most if scales is None else activations.product(spread, most)
    return np.asarray(weights * spread)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conv:
    """Convolution of integer values, requantised, perhaps with a residual operand.

    A linear layer is a convolution whose kernel covers its whole input; average
    pooling is a depthwise one with weights of 1; a stand-alone activation or add
    is a depthwise 1x1 with weights of 1.

    ``weights`` holds *values* (int64, ``O I FY FX``), not codes; every value of
    row ``o`` is in ``formats[o]``. ``residual`` names a tensor of the output's shape.
    ``useful`` is false where the products are a means of this representation (copy,
    pooling, stand-alone activation) and not the network's own. ``scales``, where there are
    any, multiply the weights vector by vector; without groups the last vector may be short.
    Where the input has scales too, each vector's sum is multiplied by the rounded product of both
    (:meth:`BlockScaling.product`); where only one has, by that. A requantised sum whose output
    has scales is wide: it may reach ``Tensor.limit`` (:mod:`celosia.models.vectors`).
    ``operation`` makes a term of each weight and activation: products, or distances, which
    padding takes part in as activations of 0; only products have ``scales``.
    The constructor keeps a read-only copy of ``weights``, or those that are read-only already.
    """

    name: str
    input: str
    output: str
    window: Window
    groups: int
    weights: np.ndarray
    formats: tuple[Format, ...]
    requant: Requant
    residual: str | None = None
    useful: bool = True
    scales: WeightScales | None = None
    operation: Operation = MULTIPLY

    def __post_init__(self) -> None:
        check_name("operation", self.name)
        where = f"conv {self.name!r}"
        if not isinstance(self.operation, Operation):
            raise TypeError(f"{where}: operation must be an Operation, not {self.operation!r}")
        object.__setattr__(self, "weights", read_only(f"{where}: weights", self.weights, 4))
        rows = len(self.weights)
        if self.weights.shape[2:] != self.window.kernel:
            raise ValueError(
                f"{where}: weights {self.weights.shape} do not have the window's kernel "
                f"{self.window.kernel}"
            )
        if not integers((self.groups,)) or self.groups < 1 or rows % self.groups:
            raise ValueError(
                f"{where}: groups must be a positive divisor of {rows} output channels, "
                f"not {self.groups!r}"
            )
        for field, length in (("formats", len(self.formats)), ("requant", len(self.requant.bias))):
            if length != rows:
                raise ValueError(
                    f"{where}: {field} must have {rows} entries, one a row, not {length}"
                )
        self._check_rows(where)
        if self.residual is None and self.requant.residual.any():
            raise ValueError(
                f"{where}: residual multipliers must be 0 where there is no residual operand"
            )
        if self.scales is not None:
            if self.operation != MULTIPLY:
                raise ValueError(
                    f"{where}: weights of operation {self.operation.name} cannot have scales"
                )
            self._check_scales(self.scales, where)

    def _check_rows(self, where: str) -> None:
        """Check that every row's weights are values of its format; rows of one format at once."""
        for row, fmt in enumerate(self.formats):
            if not isinstance(fmt, Format):
                raise TypeError(f"{where}: formats[{row}] must be a Format, not {fmt!r}")
        for fmt, numbers, weights in rows_of(self.formats, self.weights):
            held = fmt.holds(weights)
            if not held.all():
                first = np.argwhere(~held)[0]
                raise ValueError(
                    f"{where}: weight {int(weights[tuple(first)])} of row "
                    f"{int(numbers[first[0]])} is not a value of {fmt.name}"
                )
            for number, row in zip(numbers.tolist(), weights, strict=True):
                try:
                    self.operation.check_format(fmt)
                    self.operation.check_weights(fmt, row)
                except ValueError as error:
                    raise ValueError(f"{where}: row {number}: {error}") from error

    def _check_scales(self, scales: WeightScales, where: str) -> None:
        rows, inputs, *kernel = self.weights.shape
        vector = scales.scaling.vector
        if self.groups > 1 and inputs % vector:
            raise ValueError(
                f"{where}: a vector must divide the {inputs} channels of a group, {vector} does not"
            )
        shape = (rows, -(-inputs // vector), *kernel)
        if scales.values.shape != shape:
            raise ValueError(
                f"{where}: scales for vectors of {vector} must have shape {shape}, "
                f"not {scales.values.shape}"
            )

    def scaled_weights(self, activations: BlockScaling | None) -> np.ndarray:
        """Return :func:`scaled_weights` for inputs with scales of ``activations``."""
        return scaled_weights(self.weights, self.scales, activations)

    def product_step(self, activations: BlockScaling | None) -> int:
        """Return what 1 in a sum stands for, in products of elements and scales.

        A power of two, above 1 where weights and inputs both have scales and their products are
        rounded.
        """
        return scales_step(None if self.scales is None else self.scales.scaling, activations)

    @property
    def channels(self) -> tuple[int, int]:
        """Number of (input, output) channels, all groups together."""
        return self.weights.shape[1] * self.groups, len(self.weights)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaxPool:
    """Maximum over a window; padding never wins. Same format, scale and zero in and out.

    Every window holds at least one element that is not padding.
    """

    name: str
    input: str
    output: str
    window: Window

    def __post_init__(self) -> None:
        check_name("operation", self.name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concat:
    """Channels of ``inputs`` one after another. All have one format, scale, zero and size.

    Joining is address arithmetic and moves nothing, so each member is written by a
    :class:`Conv` or a :class:`MaxPool` and is a member of one concat only, once.
    """

    name: str
    inputs: tuple[str, ...]
    output: str

    def __post_init__(self) -> None:
        check_name("operation", self.name)
        if len(set(self.inputs)) != len(self.inputs) or not self.inputs:
            raise ValueError(
                f"concat {self.name!r}: inputs must be one or more different tensors, "
                f"not {self.inputs!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an :class:`Interleave`: every ``stride``-th pixel of its output from ``origin`` on.

    Both are (vertical, horizontal); element (y, x) of ``input`` is the output's element
    ``(origin[0] + y * stride[0], origin[1] + x * stride[1])``.
    """

    input: str
    origin: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        for field, least in (("origin", 0), ("stride", 1)):
            value = getattr(self, field)
            if not isinstance(value, tuple) or len(value) != 2 or not integers(value):
                raise TypeError(f"part {field} must be 2 integers, not {value!r}")
            if min(value) < least:
                raise ValueError(f"part {field} must be at least {least}, not {value!r}")

    def places(self, height: int, width: int) -> tuple[slice, slice]:
        """Return which rows and columns of the output ``height x width`` elements are."""
        rows, columns = (
            slice(first, first + (size - 1) * step + 1, step)
            for first, step, size in zip(self.origin, self.stride, (height, width), strict=True)
        )
        return rows, columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interleave:
    """Pixels of ``parts`` between one another: how transposed convolutions and resizes end.

    All have the output's channels, format and scale, and every pixel of the output is in exactly
    one. As with :class:`Concat` nothing is moved: each part is written by a :class:`Conv` or a
    :class:`MaxPool`, is a part of one interleave only, and is read by nothing else.
    """

    name: str
    parts: tuple[Part, ...]
    output: str

    def __post_init__(self) -> None:
        check_name("operation", self.name)
        if len(set(self.inputs)) != len(self.parts) or not self.parts:
            raise ValueError(
                f"interleave {self.name!r}: parts must be one or more different tensors, "
                f"not {self.inputs!r}"
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors of the parts, in order."""
        return tuple(part.input for part in self.parts)


Op = Conv | MaxPool | Concat | Interleave | SparseLinear | Lstm


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """An integer-exact network: tensors by name, operations in execution order.

    ``trained`` is false where weights are random: such a network is for cycles, and every report
    of it says so. The constructor checks everything: names resolve, tensors are written once and
    before they are read, shapes and formats agree, weights are values of their
    row's format, constants are in range, no accumulator needs more than
    ``MAX_ACCUMULATOR_BITS`` bits. Raises ``ValueError`` naming the operation.
    """

    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ops: tuple[Op, ...]
    trained: bool = True

    def __post_init__(self) -> None:
        from celosia.models.validation import check_network

        check_network(self)

    def tensor(self, name: str) -> Tensor:
        """Return the tensor called ``name``; ``KeyError`` if there is none."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(name)

    def products(self, op: Op) -> int:
        """Return the useful products of ``op`` for one sample, padding included; 0 for helpers.

        Of sparse layers: those with nonzero weights, whatever the activations.
        """
        if isinstance(op, SparseLinear):
            return len(op.matrix.values)
        if isinstance(op, Lstm):
            return len(op.matrix.values) * self.tensor(op.output).shape[1]
        if not isinstance(op, Conv) or not op.useful:
            return 0
        _, height, width = self.tensor(op.output).shape
        return height * width * int(op.weights.size)

    @property
    def macs(self) -> int:
        """Useful products of one sample: the sum of :meth:`products`."""
        return sum(self.products(op) for op in self.ops)

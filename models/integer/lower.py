"""From a float graph whose tensors have grids already to an integer :class:`Network`.

Every convolution's weights are integers times one number a row; what is left is to find the
constants of each requantisation (:mod:`celosia.models.integer.steps`). Nothing is calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from celosia.models.bounds import sum_range
from celosia.models.errors import CelosiaError
from celosia.models.find_scales import whole_steps
from celosia.models.formats import Fixed
from celosia.models.graph import FloatConv, FloatGraph
from celosia.models.grid import Grid
from celosia.models.integer.agreement import Agreement
from celosia.models.integer.lookup import code_table
from celosia.models.integer.steps import (
    MULTIPLIER_MAX,
    Constants,
    Rule,
    Staircase,
    Ties,
    fit,
    widest_shift,
)
from celosia.models.network import Conv, Network, Op, Requant, Rounding, Tensor
from celosia.models.operations import MULTIPLY

HELPER_BITS = 8
"""Bits of the widest weights of copies, sums and pools: finer ones place offsets better."""

_EVEN = 1e-9
"""How far, relatively, weights may be from integers times one number."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Integers:
    """Weights as a file holds them, zero points taken off, int64 ``O I FY FX``, and their bits."""

    values: np.ndarray
    bits: int


def lower_graph(
    graph: FloatGraph,
    grids: Mapping[str, Grid],
    rules: Mapping[str, Rule],
    integers: Mapping[str, Integers],
    signs: frozenset[str],
) -> tuple[Network, tuple[Agreement, ...]]:
    """Return the integer network of ``graph``, and how each layer agrees with it.

    Parameters
    ----------
    graph
        The fused graph.
    grids
        Format, scale and zero of every tensor.
    rules
        How the tensors are rounded that are not rounded half to even about their zero.
    integers
        The weights of convolutions by name; others must have rows of one magnitude.
    signs
        Tensors that hold the signs, -1 or 1, of what is computed.

    Raises
    ------
    CelosiaError
        For what no network holds; names the operation.
    """
    ops: list[Op] = []
    agreements = []
    for op in graph.ops:
        if not isinstance(op, FloatConv):
            ops.append(op)
            continue
        rule = rules.get(op.output, Rule(zero=grids[op.output].zero))
        if op.function is not None:
            conv, agreement = code_table(op, grids[op.input], grids[op.output], rule)
            ops.append(conv)
            agreements.append(agreement)
            continue
        task = _Layer(op, grids, rule, integers.get(op.name))
        conv, agreement = task.signs() if op.output in signs else task.conv()
        ops.append(conv)
        agreements.append(agreement)
    try:
        network = Network(
            name=graph.name,
            tensors=tuple(
                Tensor(
                    name=name,
                    shape=shape,
                    format=grids[name].format,
                    scale=grids[name].scale,
                    zero=grids[name].zero,
                )
                for name, shape in graph.shapes().items()
            ),
            inputs=tuple(graph.inputs),
            outputs=graph.outputs,
            ops=tuple(ops),
        )
    except ValueError as error:
        raise CelosiaError(f"the model fits no integer network: {error}") from error
    return network, tuple(agreements)


class _Layer:
    """One convolution: integer weights, gains and offsets in output codes."""

    def __init__(
        self, op: FloatConv, grids: Mapping[str, Grid], rule: Rule, integers: Integers | None
    ) -> None:
        self.op, self.rule = op, rule
        self.source, self.target = grids[op.input], grids[op.output]
        self.other = None if op.residual is None else grids[op.residual]
        weights, scale, self.bits = self._integers(integers)
        self.helper = bool((np.abs(weights) <= 1).all()) and not op.useful
        # Rows with a negative scale are looked at with other signs, so that all gains are positive.
        self.turned = np.where(scale < 0, -1, 1)
        self.weights = weights * self.turned[:, None, None, None]
        self.scale = np.abs(scale)

    def _integers(self, known: Integers | None) -> tuple[np.ndarray, np.ndarray, int]:
        """Return integer weights, what they are multiplied by in each row, and their bits."""
        real, rows = self.op.weight, np.arange(len(self.op.weight))
        flat = real.reshape(len(real), -1)
        if known is None:
            # Copies, sums and pools have one magnitude; the phases of a bilinear resize several.
            steps = whole_steps(flat, (1 << HELPER_BITS - 1) - 1)
            most = np.abs(flat).max(axis=1)
            steps = np.where(steps > 0, steps, np.where(most > 0, most, 1.0))
            values = np.rint(flat / steps[:, None]).astype(np.int64).reshape(real.shape)
            bits = HELPER_BITS
        else:
            values, bits = known.values, known.bits
            flat_known = values.reshape(len(values), -1)
            largest = np.abs(flat_known).argmax(axis=1)
            size = flat_known[rows, largest]
            steps = np.where(size != 0, flat[rows, largest] / np.where(size != 0, size, 1), 0.0)
            # A row of zeros, or one that a scale of 0 made so, may have any step.
            values = np.where((steps != 0)[:, None, None, None], values, 0)
            steps = np.where(steps != 0, steps, 1.0)
        error = np.abs(values * steps[:, None, None, None] - real).max(initial=0)
        if error > _EVEN * np.abs(real).max(initial=1e-300):
            raise CelosiaError(
                f"layer {self.op.name!r}: its weights are not quantised (they are no integers "
                "times one scale a row): quantise its weights, and the input of what scales them"
            )
        return values, steps, bits

    def range(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return sum_range(MULTIPLY, weights, self.source.format)

    def gain(self, weights: np.ndarray) -> np.ndarray:
        """Return output codes by sum, of ``weights`` that may be a multiple of the row's."""
        ratio = self.scale * (self.source.scale / self.target.scale)
        sizes = [
            np.abs(part).reshape(len(part), -1).max(axis=1) for part in (weights, self.weights)
        ]
        times = np.where(sizes[1] > 0, sizes[0] / np.where(sizes[1] > 0, sizes[1], 1), 1.0)
        # A row of zeros has no gain of its own: one that makes its offset exact.
        return np.asarray(np.where(sizes[1] > 0, ratio / times, 2.0**-10))

    def bent_zero(self, weights: np.ndarray) -> np.ndarray:
        """Return what a sum is, int64 (O,), where all inputs are the real 0."""
        return np.asarray(weights.reshape(len(weights), -1).sum(axis=1) * self.source.zero)

    def conv(self) -> tuple[Conv, Agreement]:
        if self.op.slope is not None or self.other is not None:
            return self._mixed()
        stairs = self._stairs(self.weights)
        even = self.rule.ties is Ties.HALF_EVEN
        constants = fit(stairs, even=even)
        weights = self.weights
        if constants.differ is None or constants.differ.any():
            weights, constants, stairs = self._finer(constants, stairs, even=even)
        requant = self._requant(constants.multiplier, constants.bias, constants.shift, even=even)
        differ = None if constants.differ is None else int(constants.differ.sum())
        agreement = Agreement(
            layer=self.op.name,
            differ=differ,
            count=int(constants.count.sum()),
            margin=_margin(stairs, constants),
        )
        return self._made(weights, requant), agreement

    def _stairs(self, weights: np.ndarray) -> Staircase:
        gain = self.gain(weights)
        least, most = self.range(weights)
        low, high = self.ends()
        offset = self.op.bias / self.target.scale + self.target.zero
        return Staircase(
            gain=gain,
            offset=offset - gain * self.bent_zero(weights),
            least=least,
            most=most,
            low=low,
            high=high,
            rule=self.rule,
        )

    def ends(self) -> tuple[int, int]:
        """Return the least and greatest code that the operation can give."""
        fmt, bounds = self.target.format, np.array([self.op.low, self.op.high])
        with np.errstate(invalid="ignore"):
            codes = np.rint(bounds / self.target.scale) + self.target.zero
        low, high = np.clip(codes, fmt.low, fmt.high).astype(int).tolist()
        return low, high

    def _finer(
        self, constants: Constants, stairs: Staircase, *, even: bool
    ) -> tuple[np.ndarray, Constants, Staircase]:
        """Return the multiple of the weights with which the offset is placed best.

        Weights of 1 may be any that ``HELPER_BITS`` hold; others are doubled while codes are
        finer than sums.
        """
        best = (self.weights, constants, stairs)
        choices = list(range(2, 1 << HELPER_BITS - 1))
        if not self.helper:
            room = HELPER_BITS - self.bits
            choices = [2**k for k in range(1, room + 1) if stairs.gain.max() > 2 ** (k - 1)]
        for times in choices:
            weights = self.weights * times
            tried = self._stairs(weights)
            near = fit(tried, even=even)
            if near.differ is None or best[1].differ is None:
                if _margin(tried, near) < _margin(best[2], best[1]):
                    best = (weights, near, tried)
            elif near.differ.sum() / times < best[1].differ.sum() / _times(best[0]):
                best = (weights, near, tried)
            if best[1].differ is not None and not best[1].differ.any():
                break
        return best

    def _mixed(self) -> tuple[Conv, Agreement]:
        """Return a convolution with a slope or a residual operand, and its agreement."""
        op, target = self.op, self.target
        if op.slope is not None:
            fixed = target.zero or (self.other is not None and self.other.zero)
            if fixed:
                raise CelosiaError(
                    f"layer {op.name!r}: a slope (PReLU, LeakyReLU, or a ReLU before a sum) needs "
                    f"zero points of 0 behind it, not {fixed}: quantise symmetrically there"
                )
        choices = range(1, 1 << HELPER_BITS - 1) if self.helper else range(1, 2)
        tried = [self._weighed(times) for times in choices]
        weights, requant, margin = min(tried, key=lambda found: found[2])
        agreement = Agreement(layer=op.name, differ=None, count=len(weights), margin=margin)
        return self._made(weights, requant), agreement

    def _weighed(self, times: int) -> tuple[np.ndarray, Requant, float]:
        """Return weights times ``times``, constants and how far they can be from the exact."""
        op, target = self.op, self.target
        weights = self.weights * times
        gain, slope = self.gain(weights), np.ones(len(weights)) if op.slope is None else op.slope
        other = 0.0 if self.other is None else self.other.scale / target.scale
        inside = op.bias / target.scale - gain * self.bent_zero(weights)
        behind = target.zero - (0.0 if self.other is None else other * self.other.zero)
        largest = np.maximum(gain * np.maximum(np.abs(slope), 1.0), other)
        shift = widest_shift(largest)
        power = 2.0**shift
        limit = MULTIPLIER_MAX
        positive = np.clip(np.rint(gain * power), -limit, limit)
        negative = np.clip(np.rint(gain * slope * power), -limit, limit)
        residual = np.clip(np.rint(np.full(len(gain), other) * power), -limit, limit)
        actual = np.where(positive > 0, positive / power, gain)
        # An offset behind the slope is only there where there is none.
        bias = np.rint((inside + behind) / actual)
        even = self.rule.ties is Ties.HALF_EVEN and self.rule.zero % 2 == 0
        requant = Requant(
            bias=bias.astype(np.int64),
            positive=positive.astype(np.int64),
            negative=negative.astype(np.int64),
            residual=residual.astype(np.int64),
            shift=shift,
            low=self.ends()[0],
            high=self.ends()[1],
            rounding=Rounding.HALF_EVEN if even else Rounding.HALF_UP,
        )
        margin = np.zeros(len(gain))
        for sums in self.range(weights):
            value = sums + bias
            exact = gain * sums + inside
            exact = np.where(exact < 0, slope * exact, exact) + behind
            ours = np.where(value < 0, negative, positive) / power * value
            margin = np.maximum(margin, np.abs(ours - exact))
        if self.other is not None:
            fmt = self.other.format
            reach = max(abs(fmt.low), abs(fmt.high))
            margin = margin + np.abs(residual / power - other) * reach
        return weights, requant, float(margin.max()) if margin.max() > 1e-12 else 0.0

    def _requant(
        self, multiplier: np.ndarray, bias: np.ndarray, shift: np.ndarray, *, even: bool
    ) -> Requant:
        low, high = self.ends()
        return Requant(
            bias=bias,
            positive=multiplier,
            negative=multiplier,
            residual=np.zeros_like(bias),
            shift=shift,
            low=low,
            high=high,
            rounding=Rounding.HALF_EVEN if even else Rounding.HALF_UP,
        )

    def _made(self, weights: np.ndarray, requant: Requant) -> Conv:
        op, turned = self.op, self.turned
        weights = weights * turned[:, None, None, None]
        low, high = int(weights.min()), int(weights.max())
        needed = max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1
        fmt = Fixed(bits=max(2, needed, 0 if self.helper else self.bits))
        requant = replace(
            requant,
            bias=requant.bias * turned,
            positive=np.where(turned < 0, -requant.negative, requant.positive),
            negative=np.where(turned < 0, -requant.positive, requant.negative),
        )
        return Conv(
            name=op.name,
            input=op.input,
            output=op.output,
            window=op.window,
            groups=op.groups,
            weights=weights,
            formats=(fmt,) * len(weights),
            requant=requant,
            residual=op.residual,
            useful=op.useful,
        )

    def signs(self) -> tuple[Conv, Agreement]:
        """Return the convolution whose output is -1 or 1.

        Doubled sums with an odd bias are never 0, so a clamp leaves their signs.
        """
        if self.op.slope is not None or self.other is not None:
            raise CelosiaError(
                f"layer {self.op.name!r}: signs of a sum with a slope or a second operand cannot "
                "be had: quantise what goes into BipolarQuant first"
            )
        stairs = replace(self._stairs(self.weights), low=-1, high=1, rule=Rule(ties=Ties.FLOOR))
        offset = (stairs.offset - self.target.zero) / stairs.gain
        near = np.rint(offset)
        offset = np.where(
            np.abs(offset - near) <= _EVEN * np.maximum(np.abs(near), 1), near, offset
        )
        first = np.ceil(-offset).astype(np.int64)
        rows = len(first)
        one = np.ones(rows, np.int64)
        requant = replace(self._requant(one, 1 - 2 * first, 0 * one, even=True), low=-1, high=1)
        count = int((stairs.most - stairs.least + 1).sum())
        agreement = Agreement(layer=self.op.name, differ=0, count=count, margin=0.0)
        return self._made(2 * self.weights, requant), agreement


def _times(weights: np.ndarray) -> int:
    return int(np.abs(weights).max(initial=1))


def _margin(stairs: Staircase, constants: Constants) -> float:
    """Return how far a value can be from the exact one, in codes, where neither is clamped."""
    ratio = constants.multiplier / 2.0**constants.shift
    ends = [
        np.clip((end - stairs.offset) / stairs.gain, stairs.least, stairs.most)
        for end in (stairs.low - 0.5, stairs.high + 0.5)
    ]
    shift = stairs.rule.shift
    errors = [
        np.abs(ratio * (end + constants.bias) + shift - stairs.gain * end - stairs.offset)
        for end in ends
    ]
    worst = float(np.max(errors))
    return worst if worst > 1e-12 else 0.0

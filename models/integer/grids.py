"""What an import of a quantised file collects: a float graph, and the codes of its tensors.

A tensor of codes is a barrier: what is computed before it is fused up to it and no further. Each
is made by a pointwise operation that changes nothing, which fusion merges into what comes before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.fuse import fuse, remove_dead
from celosia.models.graph import FloatConv, FloatGraph, FloatOp, reads
from celosia.models.grid import Grid
from celosia.models.import_ops import Call, unpadded
from celosia.models.import_values import Builder, Unsupported, View
from celosia.models.integer.agreement import Agreement
from celosia.models.integer.lookup import fold_tables, steps_of
from celosia.models.integer.lower import Integers, lower_graph
from celosia.models.integer.steps import Rule
from celosia.models.network import Concat, Network

OUTPUT_BITS = 16
"""Bits of an output that a file leaves real."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Imported:
    """An integer network, how its layers agree with the file, and what was left out, in words."""

    network: Network
    agreements: tuple[Agreement, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightCodes:
    """Constant weights: ``values * scale`` with zero points taken off.

    ``values`` is int64, ``scale`` float64 of the same shape; ``bits`` is what the file stores.
    """

    values: np.ndarray
    scale: np.ndarray
    bits: int

    @property
    def real(self) -> np.ndarray:
        """The numbers that they stand for, float64."""
        return np.asarray(self.values * self.scale)

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> WeightCodes:
        """Return the weights after a change of shape or order."""
        return replace(self, values=change(self.values), scale=change(self.scale))


@dataclass(slots=True, kw_only=True)
class Quantised:
    """Collects the graph (``builder``) and what is known of its tensors and weights, by name."""

    builder: Builder
    inputs: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    grids: dict[str, Grid] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    integers: dict[str, Integers] = field(default_factory=dict)
    signs: set[str] = field(default_factory=set)

    @property
    def known(self) -> bool:
        """Whether the file quantises anything."""
        return bool(self.grids or self.integers)

    def quantise(
        self, view: View, grid: Grid, rule: Rule, name: str, *, raw: bool, signs: bool = False
    ) -> View:
        """Return ``view`` in codes of ``grid``; ``raw`` says that it is an input of the model.

        Raises :class:`Unsupported` for an input that has other codes already.
        """
        unpadded(view)
        known = self.grids.get(view.name)
        if known == grid:
            return replace(view, coded=True)
        if raw:
            if known is not None:
                raise Unsupported(
                    "it quantises an input a second time, in another way",
                    "quantise each input once",
                )
            if signs:
                raise Unsupported("it takes signs of an input", "give the signs as inputs")
            self.grids[view.name] = grid
            return replace(view, coded=True)
        writer = next((op for op in reversed(self.builder.ops) if op.output == view.name), None)
        if known is None and isinstance(writer, Concat) and not signs:
            self.grids[view.name] = grid
            self._join(writer, grid, rule)
            return view
        output = self.builder.name(name)
        result = self.builder.pointwise(view, f"{output}_quantised", output)
        self._keep(output, grid, rule)
        if signs:
            self.signs.add(output)
        return result

    def limit(self, view: View, low: float, high: float, name: str) -> View:
        """Return the codes of ``view`` limited to ``low..high``."""
        grid = self.grids[view.name]
        ends = [(end - grid.zero) * grid.scale for end in (low, high)]
        last = self.builder.ops[-1] if self.builder.ops else None
        if isinstance(last, FloatConv) and last.output == view.name and last.pointwise:
            limited = replace(last, low=max(last.low, ends[0]), high=min(last.high, ends[1]))
            self.builder.ops[-1] = limited
            return view
        output = self.builder.name(name)
        result = self.builder.pointwise(
            view, f"{output}_limited", output, low=ends[0], high=ends[1]
        )
        self._keep(output, grid, self.rules.get(view.name, Rule(zero=grid.zero)))
        return result

    def _keep(self, name: str, grid: Grid, rule: Rule) -> None:
        self.grids[name], self.rules[name] = grid, rule
        self.builder.steps[name] = steps_of(grid, rule)

    def _join(self, concat: Concat, grid: Grid, rule: Rule) -> None:
        """Give all members of a concatenation its codes."""
        names = []
        place = self.builder.ops.index(concat)
        for number, name in enumerate(concat.inputs):
            if self.grids.get(name) != grid:
                channels = self._channels(name)
                source = View.of(name, (channels, 1, 1))
                output = self.builder.name(f"{concat.output}_part{number}")
                made = len(self.builder.ops)
                self.builder.pointwise(source, output, output)
                self.builder.ops.insert(place, self.builder.ops.pop(made))
                place += 1
                self._keep(output, grid, rule)
                name = output
            names.append(name)
        self.builder.ops[place] = replace(concat, inputs=tuple(names))

    def _channels(self, name: str) -> int:
        graph = FloatGraph(name="part", inputs=self.inputs, outputs=(), ops=tuple(self.builder.ops))
        return graph.shapes()[name][0]

    def weigh(
        self,
        call: Call,
        handler: Callable[[Builder, Call], View],
        weights: WeightCodes,
        bias: np.ndarray | None,
        rows: np.ndarray | None = None,
    ) -> View:
        """Add a convolution or linear layer with integer weights, then its scale and bias.

        ``handler`` finds the weights as integers in ``call``'s argument ``weight``. ``rows`` are
        the scales by output channel, (O, K), where weights do not have those on axis 0. Raises
        :class:`Unsupported` where a row has several scales.
        """
        rows = weights.scale.reshape(len(weights.scale), -1) if rows is None else rows
        if not (rows == rows[:, :1]).all():
            raise Unsupported(
                "its weights have several scales in one row (output channel)",
                "quantise weights by tensor, or by output channel",
            )
        name, first = self.builder.name(f"{call.name}_sum"), len(self.builder.ops)
        exact = {"weight": torch.from_numpy(weights.values.astype(np.float64)), "bias": None}
        view = handler(self.builder, replace(call, args={**call.args, **exact}, name=name))
        for added in self.builder.ops[first:]:
            if isinstance(added, FloatConv):
                self.integers[added.name] = Integers(
                    values=added.weight.astype(np.int64), bits=weights.bits
                )
        return self.builder.pointwise(
            view, f"{name}_scale", call.name, weight=rows[:, 0].copy(), bias=bias
        )

    def signed(self, name: str) -> bool:
        """Whether the codes that ``name`` is computed from have a sign."""
        writers = {op.output: op for op in self.builder.ops}
        while name not in self.grids and name in writers:
            op = writers[name]
            if isinstance(op, FloatConv) and op.low >= 0:
                return False
            if isinstance(op, FloatConv) and (op.weight < 0).any():
                return True
            name = reads(op)[0]
        return name not in self.grids or self.grids[name].format.low < 0

    def keep(self, sources: tuple[str, ...], output: str) -> None:
        """Say that ``output`` has the codes of ``sources``, if those all have the same."""
        grids = [self.grids.get(name) for name in sources]
        if grids[0] is not None and all(grid == grids[0] for grid in grids):
            self.grids[output] = grids[0]

    def finish(self, name: str, outputs: tuple[str, ...]) -> Imported:
        """Return the integer network of everything collected.

        Raises
        ------
        CelosiaError
            If a tensor has no codes, or an operation no integer form.
        """
        barriers = tuple(dict.fromkeys((*outputs, *self.grids)))
        graph = FloatGraph(
            name=name, inputs=self.inputs, outputs=barriers, ops=tuple(self.builder.ops)
        )
        fused = fuse(graph)
        graph = remove_dead(replace(fused, outputs=outputs))
        grids = self._complete(graph)
        notes = list(self.builder.notes)
        for output in outputs:
            if output not in grids:
                grids[output] = self._wide(graph, output, grids)
                grid = grids[output]
                notes.append(
                    f"output {output} is left real by the model: it is {grid.format.name} x "
                    f"{grid.scale:.6g} here, which holds all that it can be; quantise it in the "
                    "model for fewer bits"
                )
        _check_complete(graph, grids)
        network, agreements = lower_graph(
            graph, grids, self.rules, self.integers, frozenset(self.signs)
        )
        network = fold_tables(network)
        there = {op.name for op in network.ops}
        kept = tuple(item for item in agreements if item.layer in there)
        return Imported(network=network, agreements=kept, notes=tuple(notes))

    def _complete(self, graph: FloatGraph) -> dict[str, Grid]:
        """Return the grids of all tensors that have one: pooling and joining keep codes.

        What goes before a pooling is of its codes too: rounding and maxima can be exchanged.
        """
        shapes = graph.shapes()
        grids = {name: grid for name, grid in self.grids.items() if name in shapes}
        # What joins and pools is first: a copy may have other codes before it than behind it.
        joins = [op for op in graph.ops if not isinstance(op, FloatConv)]
        copies = [op for op in graph.ops if isinstance(op, FloatConv) and _copies(op)]
        while any(self._spread(op, grids) for op in [*joins, *copies]):
            pass
        for op in reversed(joins):
            if op.output in self.signs:
                self.signs.update(reads(op))
        return grids

    def _spread(self, op: FloatOp, grids: dict[str, Grid]) -> bool:
        """Give all tensors of ``op`` the grid that one of them has; say whether any got one."""
        names = (*reads(op), op.output)
        first = next((name for name in names if name in grids), None)
        unknown = [name for name in names if name not in grids]
        if first is None:
            return False
        for name in unknown:
            grids[name] = grids[first]
            if first in self.rules:
                self.rules[name] = self.rules[first]
        return bool(unknown)

    def _wide(self, graph: FloatGraph, output: str, grids: dict[str, Grid]) -> Grid:
        """Return the finest grid of ``OUTPUT_BITS`` that holds all that an output can be."""
        op = graph.writers()[output]
        if not isinstance(op, FloatConv) or op.input not in grids or op.function is not None:
            raise _unquantised(output, op)
        source = grids[op.input]
        low = np.minimum(op.weight, 0), np.maximum(op.weight, 0)
        ends = (source.format.low - source.zero, source.format.high - source.zero)
        rows = [part.reshape(len(part), -1).sum(axis=1) * source.scale for part in low]
        top = np.maximum(rows[1] * ends[1] + rows[0] * ends[0] + op.bias, 0)
        bottom = np.minimum(rows[1] * ends[0] + rows[0] * ends[1] + op.bias, 0)
        reach = float(max(top.max(), -bottom.min()))
        if op.residual is not None:
            other = grids.get(op.residual)
            if other is None:
                raise _unquantised(op.residual, op)
            reach += (other.format.high - other.format.low) * other.scale
        fmt = Fixed(bits=OUTPUT_BITS)
        step = self._step(op) * source.scale
        if step > 0 and reach <= step * fmt.high:
            return Grid(format=fmt, scale=step)
        scale = reach / fmt.high if reach > 0 else 1.0
        return Grid(format=fmt, scale=float(2.0 ** np.ceil(np.log2(scale))))

    def _step(self, op: FloatConv) -> float:
        """Return what all weights of ``op`` are multiples of, 0 where rows differ."""
        known = self.integers.get(op.name)
        if known is None or not known.values.any():
            return 0.0
        some = known.values != 0
        steps = np.abs(op.weight[some] / known.values[some])
        return float(steps[0]) if np.ptp(steps) <= 1e-12 * steps[0] else 0.0


def _copies(op: FloatConv) -> bool:
    """Whether ``op`` is a copy that joining needs."""
    plain = op.pointwise and op.plain and not op.useful
    return plain and bool((op.weight == 1).all()) and not op.bias.any()


def _unquantised(name: str, op: FloatOp) -> CelosiaError:
    return CelosiaError(
        f"tensor {name!r} of operation {op.name!r} is not quantised in the model: quantise it "
        "there (QuantizeLinear, Quant), or quantise the real model with `celosia quantize`"
    )


def _check_complete(graph: FloatGraph, grids: dict[str, Grid]) -> None:
    for name in graph.inputs:
        if name not in grids:
            raise CelosiaError(
                f"input {name!r} is not quantised in the model: put a quantiser behind it, "
                "which fixes the codes of the images"
            )
    for op in graph.ops:
        for name in (*reads(op), op.output):
            if name not in grids:
                raise _unquantised(name, op)
        if not isinstance(op, FloatConv):
            first = grids[op.output]
            if any(grids[name] != first for name in reads(op)):
                raise CelosiaError(
                    f"operation {op.name!r} joins tensors of different scales or zero points: "
                    "quantise what it makes"
                )

"""A precision-scalable column of the array."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.wiring import In, Member

from celosia.rtl.column import Column
from celosia.rtl.scalable import SCALABLE
from celosia.rtl.scalable.base import ScalableDot, lanes_of


class ScalableColumn(Column):
    """A column that takes several passes for a word, fewer for narrower operands.

    As :class:`~celosia.rtl.column.Column`, except that the sum of all passes meets the
    accumulator control of the last one, one cycle later than a column's with as many lanes; of
    the others the sum is 0. ``weight_format`` is how weights are stored.

    Members
    -------
    activations : In(...).array(pixels)
        The parts of activations that the pass takes, one cycle after the pass's weights.
    passes : In(...).array(...)
        What describes the pass, at index n in the n-th cycle after its weights were given.
    """

    @property
    def _dot(self) -> ScalableDot:
        return SCALABLE[self._circuit](lanes=self._lanes, weight_bits=self._format.bits)

    def _operands(self) -> dict[str, Member]:
        dot = self._dot
        return {
            "weights": In(self._lanes * self._format.bits),
            "activations": In(dot.activation_part_bits).array(self._pixels),
            "passes": In(dot.LAYOUT).array(dot.delays),
        }

    def _totals(self, m: Module) -> list[Value]:
        dot, control = self._dot, list(self.passes)
        part = dot.weight_part(m, lanes_of(self.weights, self._lanes), control[0])
        weights = Signal(part.shape(), reset_less=True)
        m.d.sync += weights.eq(part)
        totals = []
        for pixel, activations in enumerate(self.activations):
            partial = dot.pass_sum(m, weights, activations, control, str(pixel))
            so_far = dot.so_far(m, partial, control, self._accumulator_bits, str(pixel))
            totals.append(so_far & control[-1].last.replicate(len(so_far)))
        return [total.as_signed() for total in totals]

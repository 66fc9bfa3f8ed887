from dataclasses import replace

import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.explore.dataflows import Dataflow, map_as
from celosia.dataflow.mapping import WEIGHT_STATIONARY_ARRAY, Dimension
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.formats import parse_format
from celosia.models.random_network import random_network

FORMATS = tuple(parse_format(name) for name in ("fixed4", "sp2_4"))


@pytest.mark.parametrize("dataflow", Dataflow)
def test_every_layer_has_the_dataflow_that_was_asked_for(dataflow):
    network, accelerator = random_network(3, FORMATS), preset("small")
    mapping = map_as(network, accelerator, dataflow)
    for _, layer in mapping.layers:
        order = [loop.dimension for loop in layer.loops]
        channels, rows, words = (order.index(d) for d in (Dimension.K, Dimension.OY, Dimension.C))
        if dataflow is Dataflow.WEIGHT_STATIONARY:
            assert channels < rows
            assert layer.array == WEIGHT_STATIONARY_ARRAY
        elif dataflow is Dataflow.INPUT_STATIONARY:
            assert rows < words < channels
        else:
            assert rows < channels < words
        if dataflow is Dataflow.ROW_WISE:
            assert layer.loops[rows].step == 1
    assert timing(compile_network(network, accelerator, mapping), DDR4).cycles > 0


def test_what_fits_no_buffer_is_refused_with_what_is_missing():
    tiny = preset("tiny")
    small = replace(tiny, buffers=replace(tiny.buffers, activations=1))
    with pytest.raises(CelosiaError, match=r"words of the activations buffer.* are missing"):
        map_as(random_network(3, FORMATS), small, Dataflow.ROW_WISE)

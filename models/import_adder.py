"""The layers of :mod:`celosia.models.addernet`, as operators of an exported program.

Importing this module makes the operators known to ``torch.export``, which can then read them
from files; what they do is defined here and never in a file.
"""

from __future__ import annotations

import numpy as np

from celosia.models.addernet import distance_conv2d, power_conv2d
from celosia.models.formats import Pot
from celosia.models.graph import FloatConv
from celosia.models.import_ops import Call, constant, handles, image
from celosia.models.import_values import Builder, Unsupported, View
from celosia.models.network import Window

OPERATORS = (distance_conv2d, power_conv2d)
"""What exported programs may name of ours."""


@handles("distance_conv2d", "power_conv2d")
def adder_or_shift(builder: Builder, call: Call) -> View:
    """Import an adder layer, or a shift layer with its format."""
    source, weight = image(call), constant(call, "weight")
    if weight is None:
        raise Unsupported("it has no weights", "use AdderConv2d or ShiftConv2d")
    stride, padding = int(call.args["stride"]), int(call.args["padding"])
    top, left, bottom, right = source.pad
    window = Window(
        kernel=(weight.shape[2], weight.shape[3]),
        stride=(stride, stride),
        padding=(top + padding, left + padding, bottom + padding, right + padding),
    )
    bits = call.args.get("bits")
    builder.ops.append(
        FloatConv(
            name=builder.name(call.where),
            input=source.name,
            output=call.name,
            window=window,
            groups=1,
            weight=weight,
            bias=np.zeros(len(weight)),
            distance=bits is None,
            power=None if bits is None else Pot(bits=int(bits)),
        )
    )
    height, width = window.output_size(*source.shape[1:])
    return View.of(call.name, (len(weight), height, width))

"""Functions of one value in ONNX files, which hardware has as tables."""

from __future__ import annotations

from typing import Final

import numpy as np

from celosia.models.functions import Function
from celosia.models.import_ops import unpadded
from celosia.models.import_values import Unsupported, View
from celosia.models.onnx_import.operators import Args, Context, activation, call_of, handles
from celosia.models.onnx_import.reader import MICROSOFT, Node

_FUNCTIONS: Final = {
    "Tanh": Function.TANH,
    "HardSwish": Function.HARD_SWISH,
    "Erf": Function.ERF,
    "Softplus": Function.SOFTPLUS,
    "Mish": Function.MISH,
    "Elu": Function.ELU,
    "Selu": Function.SELU,
    "Exp": Function.EXP,
    "Swish": Function.SILU,
}
_DEFAULTS: Final = {
    "Elu": {"alpha": 1.0},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    "Swish": {"alpha": 1.0},
}


@handles(*_FUNCTIONS, "Gelu")
@handles("Gelu", domain=MICROSOFT)
def function(context: Context, node: Node, args: Args) -> View:
    """Import a function of each value; those with parameters as they are by default."""
    view = unpadded(activation(args[0]))
    for name, default in _DEFAULTS.get(node.operator, {}).items():
        given = float(node.attributes.get(name, default))
        if abs(given - default) > 1e-6:
            raise Unsupported(f"its {name} is {given:g}", f"use the default, {default:g}")
    known = _FUNCTIONS.get(node.operator)
    if known is None:
        tanh = node.attributes.get("approximate", "none") == "tanh"
        known = Function.GELU_TANH if tanh else Function.GELU
    call = call_of(context, node, ())
    return context.builder.pointwise(view, call.where, call.name, function=known)


@handles("HardSigmoid")
def hard_sigmoid(context: Context, node: Node, args: Args) -> View:
    """Import ``clip(alpha * x + beta, 0, 1)``."""
    view = unpadded(activation(args[0]))
    alpha, beta = (
        np.full(view.shape[0], float(node.attributes.get(name, default)))
        for name, default in (("alpha", 0.2), ("beta", 0.5))
    )
    call = call_of(context, node, ())
    return context.builder.pointwise(
        view, call.where, call.name, weight=alpha, bias=beta, low=0.0, high=1.0
    )

"""Functions of torch programs that hardware has as tables: sigmoid, tanh, SiLU and others."""

from __future__ import annotations

from typing import Final

from celosia.models.functions import Function
from celosia.models.import_ops import Call, handles, unpadded
from celosia.models.import_values import Builder, Unsupported, View

_FUNCTIONS: Final = {
    "sigmoid": Function.SIGMOID,
    "tanh": Function.TANH,
    "silu": Function.SILU,
    "hardswish": Function.HARD_SWISH,
    "erf": Function.ERF,
    "softplus": Function.SOFTPLUS,
    "mish": Function.MISH,
    "elu": Function.ELU,
    "selu": Function.SELU,
    "exp": Function.EXP,
}
_DEFAULTS: Final = {"alpha": 1, "scale": 1, "input_scale": 1, "beta": 1, "threshold": 20}

NAMES: Final = (*_FUNCTIONS, "gelu")


@handles(*NAMES)
def function(builder: Builder, call: Call) -> View:
    """Import a function of each value; those with parameters as they are by default."""
    view = call.args.get("self", call.args.get("input"))
    operator = call.args["operator"]
    if not isinstance(view, View):
        raise Unsupported("its input is a constant", "compute it when the model is made")
    for name, default in _DEFAULTS.items():
        given = call.args.get(name)
        if given is not None and given != default:
            raise Unsupported(f"its {name} is {given}", f"use the default, {default}")
    known = _FUNCTIONS.get(operator)
    if known is None:
        tanh = call.args.get("approximate") == "tanh"
        known = Function.GELU_TANH if tanh else Function.GELU
    return builder.pointwise(unpadded(view), call.where, call.name, function=known)

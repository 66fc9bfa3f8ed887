"""From an exported PyTorch model to a :class:`FloatGraph`, and the preflight check."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import OutputKind
from torch.utils._pytree import tree_leaves

from celosia.models.archive import export_model, load_model, save_model
from celosia.models.errors import CelosiaError, NotFiniteError
from celosia.models.fuse import fuse
from celosia.models.graph import FloatGraph
from celosia.models.import_adder import OPERATORS
from celosia.models.import_functions import NAMES
from celosia.models.import_ops import Call
from celosia.models.import_phases import HANDLERS
from celosia.models.import_values import Builder, Finding, Unsupported, View

__all__ = [
    "Finding",
    "check_model",
    "export_model",
    "import_program",
    "load_model",
    "save_model",
]

_CUSTOM = OPERATORS  # importing them makes them known to torch: programs may name them
_TABLES = NAMES  # importing them makes them known to the importer

_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
_SAME = (*_DROPOUTS, "alias", "clone", "contiguous", "detach", "lift_fresh_copy", "identity")
_CASTS = ("to", "_to_copy")
_SHAPES = ("view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", "unflatten")
_AXES = ("permute", "transpose", "t", "numpy_T")
_ENDINGS = ("softmax", "_softmax", "log_softmax", "_log_softmax")
_FOLDED = (
    *("ones", "zeros", "full", "arange", "scalar_tensor", "expand", "slice", "select", "cat"),
    *("add", "sub", "rsub", "mul", "div", "neg", "abs", "sqrt", "rsqrt", "exp", "reciprocal"),
    *("log2", "exp2", "round", "sign", "clamp", "clamp_min", "where", "lt", "zeros_like"),
)
_IGNORED = ("sym_size", "_assert_tensor_metadata", "_guards_fn", "_assert_scalar")


def check_model(model: str | Path | torch.export.ExportedProgram) -> list[Finding]:
    """Return everything in ``model`` that cannot be imported; empty if all can.

    Parameters
    ----------
    model
        A ``.pt2`` file or an exported program.

    Raises
    ------
    CelosiaError
        If the file cannot be read as an exported program at all.
    """
    exported = load_model(model) if isinstance(model, str | Path) else model
    return _Importer(exported).run()[1]


def import_program(
    exported: torch.export.ExportedProgram, name: str = "network", *, trained: bool = True
) -> FloatGraph:
    """Import an exported program, fuse it, and return the graph called ``name``.

    Batch normalisation, activations and additions are merged into convolutions,
    reshapes and permutations into the weights of linear layers; a softmax at the very
    end is left out (``notes`` says so). ``trained`` is false for random weights.

    Raises
    ------
    CelosiaError
        If something cannot be imported; the message lists everything, as
        :func:`check_model` does.
    """
    graph, findings = _Importer(exported, name).run()
    if findings or graph is None:
        lines = "\n".join(f"- {finding}" for finding in findings)
        raise CelosiaError(f"the model cannot be imported:\n{lines}")
    return fuse(replace(graph, trained=trained))


class _Poison:
    """The result of an operator that could not be imported: its readers are not reported."""


_POISON = _Poison()


class _Importer:
    """Walks the nodes of one exported program once."""

    def __init__(self, exported: torch.export.ExportedProgram, name: str = "network") -> None:
        self.name = name
        self.exported = _functional(exported)
        self.builder = Builder()
        self.values: dict[torch.fx.Node, Any] = {}
        self.inputs: dict[str, tuple[int, int, int]] = {}
        self.outputs: list[str] = []
        self.findings: list[Finding] = []
        self.batch: str | None = None

    def run(self) -> tuple[FloatGraph | None, list[Finding]]:
        constants = _constants(self.exported)
        for node in self.exported.graph.nodes:
            try:
                if node.op == "placeholder":
                    known = node.name in constants
                    self.values[node] = constants[node.name] if known else self.input(node)
                elif node.op == "output":
                    self.output(node)
                else:
                    self.values[node] = self.call(node)
            except Unsupported as error:
                self.report(node, error)
                self.values[node] = _POISON
        if self.findings:
            return None, self.findings
        if not self.inputs or not self.outputs:
            self.findings.append(
                Finding(
                    operator="model",
                    where=self.name,
                    reason="it has no tensor input or no tensor output",
                    remedy="export a module that maps images to predictions",
                )
            )
            return None, self.findings
        try:
            graph = FloatGraph(
                name=self.name,
                inputs=self.inputs,
                outputs=tuple(self.outputs),
                ops=tuple(self.builder.ops),
                notes=tuple(self.builder.notes),
            )
        except ValueError as error:
            self.findings.append(
                Finding(
                    operator="model",
                    where=self.name,
                    reason=str(error),
                    remedy="change the operation's parameters",
                )
            )
            return None, self.findings
        return graph, []

    def report(self, node: torch.fx.Node, error: Unsupported) -> None:
        operator = str(node.target) if node.op == "call_function" else node.op
        path = _module_path(node)
        self.findings.append(
            Finding(
                operator=operator,
                where=f"{node.name} (in {path})" if path else node.name,
                reason=error.reason,
                remedy=error.remedy,
            )
        )

    def input(self, node: torch.fx.Node) -> View:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            raise Unsupported("the input is not a float tensor", "give float images as inputs")
        if value.ndim != 4 or not all(isinstance(size, int) for size in value.shape[1:]):
            raise Unsupported(
                f"the input has shape {tuple(map(str, value.shape))}",
                "give N C H W with fixed C, H and W (only N may be dynamic)",
            )
        batch = str(value.shape[0])
        if self.batch not in (None, batch):
            raise Unsupported("the inputs have different batch sizes", "give them one batch size")
        self.batch = batch
        channels, height, width = (int(size) for size in value.shape[1:])
        self.inputs[node.name] = (channels, height, width)
        self.builder.used.add(node.name)
        return View.of(node.name, (channels, height, width))

    def output(self, node: torch.fx.Node) -> None:
        specs = self.exported.graph_signature.output_specs
        for argument, spec in zip(tree_leaves(node.args[0]), specs, strict=True):
            if spec.kind is not OutputKind.USER_OUTPUT:
                continue  # a buffer that training changes
            view = self.values.get(argument) if isinstance(argument, torch.fx.Node) else argument
            if view is _POISON or view is None:
                continue
            if not isinstance(view, View):
                raise Unsupported("an output is a constant", "return activations only")
            if not view.whole or any(view.pad):
                raise Unsupported(
                    f"output {argument} is a rearranged tensor", "return it as it is computed"
                )
            name = view.name
            if name in self.inputs or name in self.outputs:
                fresh = self.builder.name(f"{argument}_output")
                name = self.builder.pointwise(view, fresh, fresh).name
            self.outputs.append(name)

    def call(self, node: torch.fx.Node) -> Any:
        if node.target is not None and getattr(node.target, "__name__", "") == "getitem":
            source, position = self.values.get(node.all_input_nodes[0]), node.args[1]
            if isinstance(source, tuple) and isinstance(position, int):
                if position >= len(source):
                    raise Unsupported("it uses the indices of a pooling", "use its maxima only")
                return source[position]
            return source
        if not isinstance(node.target, torch._ops.OpOverload):
            raise Unsupported("it is no tensor operator", "remove control flow and custom calls")
        operator = node.target._schema.name.split("::")[-1]
        if operator in _IGNORED:
            return None
        args = self.arguments(node)
        leaves = tree_leaves(list(args.values()))
        if any(leaf is _POISON for leaf in leaves):
            return _POISON
        views = [leaf for leaf in leaves if isinstance(leaf, View)]
        if not views:
            return self.fold(node, args)
        if any(view.final for view in views):
            raise Unsupported("it follows a softmax", "a softmax may only end the model")
        return self.apply(node, operator, args, views[0])

    def apply(self, node: torch.fx.Node, operator: str, args: dict[str, Any], view: View) -> Any:
        shape = self.result_shape(node)
        if operator in _CASTS and not self.real(node):
            raise Unsupported(
                f"it makes {node.meta['val'].dtype} of an activation", "keep activations real"
            )
        if operator in _SAME or operator in _CASTS:
            if operator in _DROPOUTS and args.get("train"):
                raise Unsupported("it is in training mode", "call model.eval() before exporting")
            return view
        if operator in _SHAPES:
            return _unpadded_view(view).with_index(view.index.reshape(shape))
        if operator in _AXES:
            return self.permute(view, operator, args)
        if operator in _ENDINGS:
            return self.ending(node, view, args)
        handler = HANDLERS.get(operator)
        if handler is None:
            raise Unsupported("it has no counterpart in the hardware", _remedy(operator))
        path = _module_path(node)
        call = Call(
            args={**args, "operator": operator},
            shape=shape,
            name=self.builder.name(node.name),
            where=path or f"{node.name}_op",
        )
        try:
            return handler(self.builder, call)
        except NotFiniteError as error:
            raise Unsupported(
                f"{error}: there is a NaN or an infinity in the checkpoint",
                "look for where training diverged, and export an earlier checkpoint",
            ) from error
        except ValueError as error:
            raise Unsupported(str(error), "change its shape or its parameters") from error

    def arguments(self, node: torch.fx.Node) -> dict[str, Any]:
        """Return the node's arguments by name, nodes replaced by what they stand for."""

        def resolve(value: Any) -> Any:
            if isinstance(value, torch.fx.Node):
                return self.values.get(value)
            if isinstance(value, list | tuple):
                return [resolve(item) for item in value]
            return value

        assert isinstance(node.target, torch._ops.OpOverload)
        result = {}
        for position, argument in enumerate(node.target._schema.arguments):
            default = argument.default_value if argument.has_default_value() else None
            given = node.kwargs.get(argument.name, default)
            if position < len(node.args):
                given = node.args[position]
            result[argument.name] = resolve(given)
        return result

    def result_shape(self, node: torch.fx.Node) -> tuple[int, ...]:
        """Return the shape of the node's first result without its batch axis."""
        value = node.meta.get("val")
        value = value[0] if isinstance(value, tuple | list) else value
        if not isinstance(value, torch.Tensor) or value.ndim < 1:
            raise Unsupported("its result is no tensor with a batch axis", "keep the batch axis")
        if str(value.shape[0]) != self.batch:
            raise Unsupported("it moves or removes the batch axis", "keep the batch axis first")
        if not all(isinstance(size, int) for size in value.shape[1:]):
            raise Unsupported("its size is dynamic", "only the batch size may be dynamic")
        return tuple(int(size) for size in value.shape[1:])

    @staticmethod
    def real(node: torch.fx.Node) -> bool:
        """Whether the node's result is a tensor of real numbers."""
        value = node.meta.get("val")
        return isinstance(value, torch.Tensor) and value.is_floating_point()

    def permute(self, view: View, operator: str, args: dict[str, Any]) -> View:
        _unpadded_view(view)
        rank = view.index.ndim + 1
        order = list(range(rank))
        if operator == "permute":
            order = [int(axis) % rank for axis in args["dims"]]
        elif operator == "transpose":
            first, second = int(args["dim0"]) % rank, int(args["dim1"]) % rank
            order[first], order[second] = order[second], order[first]
        else:
            order.reverse()
        if order[0] != 0:
            raise Unsupported("it moves the batch axis", "keep the batch axis first")
        return view.with_index(view.index.transpose([axis - 1 for axis in order[1:]]))

    def ending(self, node: torch.fx.Node, view: View, args: dict[str, Any]) -> View:
        if int(args["dim"]) % (view.index.ndim + 1) != 1:
            raise Unsupported("it does not run over the channels", "use softmax(dim=1)")
        path = _module_path(node) or node.name
        self.builder.notes.append(
            f"softmax {path} left out: the output is the logits, their order is the same"
        )
        final = View(name=view.name, shape=view.shape, index=view.index, final=True)
        return final

    def fold(self, node: torch.fx.Node, args: dict[str, Any]) -> Any:
        """Evaluate an operator on constants."""
        assert isinstance(node.target, torch._ops.OpOverload)
        schema = node.target._schema
        operator = schema.name.split("::")[-1]
        if operator not in (*_SAME, *_SHAPES, *_AXES, *_CASTS, *_FOLDED):
            raise Unsupported("it computes a constant", "compute it when the model is made")
        positional = [args[item.name] for item in schema.arguments if not item.kwarg_only]
        keywords = {
            item.name: args[item.name]
            for item in schema.arguments
            if item.kwarg_only and item.name in node.kwargs
        }
        try:
            return node.target(*positional, **keywords)
        except (RuntimeError, TypeError, IndexError) as error:
            raise Unsupported(f"it fails: {error}", "compute it when the model is made") from error


def _unpadded_view(view: View) -> View:
    if any(view.pad):
        raise Unsupported("zero padding before it", "pad only before a convolution")
    return view


def _functional(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return the program without in-place operators."""
    in_place = any(
        isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
        for node in exported.graph.nodes
    )
    if not in_place:
        return exported
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            functional: torch.export.ExportedProgram = exported.run_decompositions({})
            return functional
    except Exception as error:  # torch raises many kinds here
        raise CelosiaError(
            f"the model's in-place operators cannot be removed: {error}; avoid in-place operators"
        ) from error


def _constants(exported: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """Return the value of each placeholder that is no input."""
    signature = exported.graph_signature
    stored: dict[str, Any] = {**exported.constants, **exported.state_dict}
    result = {}
    for names in (
        signature.inputs_to_parameters,
        signature.inputs_to_buffers,
        signature.inputs_to_lifted_tensor_constants,
    ):
        result.update({placeholder: stored[name] for placeholder, name in names.items()})
    return result


def _module_path(node: torch.fx.Node) -> str:
    """Return the dotted path of the module that made ``node``, or an empty string."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    return paths[-1] if paths else ""


def _remedy(operator: str) -> str:
    known = {
        "layer_norm": "use BatchNorm2d, which is folded",
        "group_norm": "use BatchNorm2d, which is folded",
        "slice": "split with separate convolutions",
        "matmul": "use nn.Linear for a product with weights; activations times activations cannot "
        "be done",
        "mm": "use nn.Linear for a product with weights",
        "native_batch_norm": "call model.eval() before exporting",
        "_native_batch_norm_legit": "call model.eval() before exporting",
        "_native_batch_norm_legit_functional": "call model.eval() before exporting",
        "cudnn_batch_norm": "call model.eval() before exporting",
        "conv1d": "use Conv2d with a kernel of one row",
        "conv_transpose1d": "use ConvTranspose2d with a kernel of one row",
    }
    return known.get(operator, "replace it by a supported operator, or keep it outside the model")

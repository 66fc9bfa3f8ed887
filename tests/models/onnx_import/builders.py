"""Small ONNX models, made node by node."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

QONNX = "qonnx.custom_op.general"
MICROSOFT = "com.microsoft"


class Made:
    """Collects nodes and constants of a model."""

    def __init__(self, shape: Sequence[int | str] = (1, 3, 8, 8), kind: int = TensorProto.FLOAT):
        self.inputs = [helper.make_tensor_value_info("x", kind, shape)]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, values: Any, kind: type = np.float32, name: str = "") -> str:
        name = name or f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                operator, inputs, [output], name=f"n{len(self.nodes)}", domain=domain, **attributes
            )
        )
        return output

    def model(self, *outputs: str, opset: int = 13, kind: int = TensorProto.FLOAT) -> Any:
        infos = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "made", self.inputs, infos, self.constants)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(QONNX, 1)]
        return helper.make_model(
            graph, opset_imports=[*opsets, helper.make_opsetid(MICROSOFT, 1)], ir_version=8
        )

    def save(self, path: Path, *outputs: str, **more: Any) -> Path:
        path.write_bytes(self.model(*outputs, **more).SerializeToString())
        return path

    # Quantised operators

    def scalar(self, scale: float, zero: int, kind: type) -> tuple[str, str]:
        return self.const(scale), self.const(zero, kind)

    def coded(self, value: str, scale: float, zero: int, kind: type = np.uint8) -> str:
        """Quantise and dequantise an activation."""
        grid = self.scalar(scale, zero, kind)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", value, *grid), *grid)

    def weights(
        self, codes: np.ndarray, scale: np.ndarray | float, kind: type = np.int8, zero: int = 0
    ) -> str:
        """Dequantise stored weights, by row where there are several scales."""
        scale = np.asarray(scale)
        return self.node(
            "DequantizeLinear",
            self.const(codes, kind),
            self.const(scale),
            self.const(np.full(scale.shape, zero), kind),
            **({"axis": 0} if scale.ndim else {}),
        )

    def quant(self, value: str, scale: Any, bits: int, *, zero: float = 0, **more: Any) -> str:
        """QONNX's quantiser."""
        operands = self.const(scale), self.const(zero), self.const(bits)
        given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | more
        return self.node("Quant", value, *operands, domain=QONNX, **given)


def run(model: Any, feeds: dict[str, np.ndarray], *, optimised: bool = False) -> list[np.ndarray]:
    """Return the outputs of onnxruntime, one sample at a time."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    )
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    count = len(next(iter(feeds.values())))
    samples = [
        session.run(None, {name: data[i : i + 1] for name, data in feeds.items()})
        for i in range(count)
    ]
    return [np.concatenate(parts) for parts in zip(*samples, strict=True)]

"""The windows of ONNX nodes: kernels, strides, dilations and padding in all its forms."""

from __future__ import annotations

from typing import Any

from celosia.models.import_values import Unsupported, View
from celosia.models.network import Window
from celosia.models.onnx_import.reader import Node

MAX_PADDING = 1 << 12
"""Most rows or columns of padding on one side."""


def window_of(
    node: Node, view: View, kernel: tuple[int, int], *, ceil: bool = False
) -> tuple[Window, tuple[int, int, int, int]]:
    """Return a node's window with all padding, and the padding that the file itself asks for."""
    given = node.attributes
    stride, dilation = (pair_of(given.get(name, [1, 1]), name) for name in ("strides", "dilations"))
    if min(*stride, *dilation, *kernel) < 1:
        raise Unsupported(
            f"its kernel {kernel}, strides {stride} or dilations {dilation} are not positive",
            "give positive sizes",
        )
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sides = _sides(node, view, extent, stride)
    own = tuple(a + b for a, b in zip(sides, view.pad, strict=True))
    top, left, bottom, right = own
    if ceil:
        extra = [
            max(0, _reach(size + before + after, step, span, before, size) - size - before - after)
            for size, before, after, step, span in zip(
                view.shape[1:], (top, left), (bottom, right), stride, extent, strict=True
            )
        ]
        bottom, right = bottom + extra[0], right + extra[1]
    window = Window(
        kernel=kernel, stride=stride, dilation=dilation, padding=(top, left, bottom, right)
    )
    return window, (own[0], own[1], own[2], own[3])


def _reach(padded: int, step: int, span: int, before: int, size: int) -> int:
    """Return what the windows of ceil mode cover: the last begins inside the image or before it."""
    count = -(-(padded - span) // step) + 1
    if (count - 1) * step >= size + before:
        count -= 1
    return (count - 1) * step + span


def pair_of(values: Any, name: str) -> tuple[int, int]:
    """Return an attribute that must be two integers."""
    if not isinstance(values, list) or len(values) != 2:
        raise Unsupported(f"its {name} are {values!r}", "use operators on images (2-d)")
    return int(values[0]), int(values[1])


def _sides(
    node: Node, view: View, extent: list[int], stride: tuple[int, int]
) -> tuple[int, int, int, int]:
    mode, pads = node.attributes.get("auto_pad", "NOTSET"), node.attributes.get("pads", [0] * 4)
    if mode == "NOTSET":
        if len(pads) != 4 or min(pads) < 0 or max(pads) > MAX_PADDING:
            raise Unsupported(f"its pads are {pads}", f"pad each side by 0 to {MAX_PADDING}")
        return pads[0], pads[1], pads[2], pads[3]
    if mode not in ("VALID", "SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"its auto_pad is {mode!r}", "give pads")
    before, after = [0, 0], [0, 0]
    if mode != "VALID":
        for axis, size in enumerate(view.shape[1:]):
            total = max(0, (-(-size // stride[axis]) - 1) * stride[axis] + extent[axis] - size)
            small, large = total // 2, total - total // 2
            swap = mode == "SAME_LOWER"
            before[axis], after[axis] = (large, small) if swap else (small, large)
    return before[0], before[1], after[0], after[1]

"""What the importer knows of a torch value: which elements of which tensor it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from celosia.models.functions import Steps
from celosia.models.graph import FloatConv, FloatOp
from celosia.models.network import Window


class Unsupported(Exception):
    """An operator that cannot be imported: the reason, and what the user can do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in a model that cannot be imported.

    Attributes
    ----------
    operator
        Name of the operator, such as ``aten.sigmoid.default``.
    where
        The node's name and the path of the module that it comes from.
    reason
        Why it cannot be imported.
    remedy
        What to do about it.
    """

    operator: str
    where: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.operator} at {self.where}: {self.reason}; {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A torch value without its batch axis.

    ``index`` has the value's shape (batch axis left out) and holds, for each element,
    its flat position in the tensor ``name`` of ``shape`` (C, H, W); reshapes and
    permutations only change it. ``pad`` is zero padding (top, left, bottom, right)
    that the next convolution takes in. ``final`` is set after a softmax: only the output may
    read it. ``coded`` is set where codes stand for it, not the model's input as it comes.
    """

    name: str
    shape: tuple[int, int, int]
    index: np.ndarray
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    final: bool = False
    coded: bool = False

    @staticmethod
    def of(name: str, shape: tuple[int, int, int], rank: int = 3) -> View:
        """Return the view of a whole tensor, as torch sees it with ``rank`` axes."""
        index = np.arange(shape[0] * shape[1] * shape[2])
        return View(name=name, shape=shape, index=index.reshape(shape if rank == 3 else (-1,)))

    @property
    def whole(self) -> bool:
        """Whether this is the tensor in its own order, perhaps in another shape."""
        size = self.shape[0] * self.shape[1] * self.shape[2]
        return self.index.size == size and bool((self.index.ravel() == np.arange(size)).all())

    @property
    def image(self) -> bool:
        """Whether this is the tensor as C H W."""
        return self.index.shape == self.shape and self.whole

    def with_index(self, index: np.ndarray) -> View:
        """Return the view of the same tensor through another index."""
        return replace(self, index=index)

    def moved(self, name: str) -> View:
        """Return the same view of a tensor ``name`` of the same shape."""
        return replace(self, name=name)

    def by_channel(self, values: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return ``values``, given for each position on ``axis``, for each channel.

        Raises :class:`Unsupported` if a channel would need several values.
        """
        if values.size == 1:
            return np.full(self.shape[0], float(values.ravel()[0]))
        shape = [1] * self.index.ndim
        shape[axis] = -1
        try:
            spread = np.broadcast_to(values.reshape(shape), self.index.shape)
        except ValueError:
            raise Unsupported(
                f"{values.size} values do not fit an axis of {self.index.shape}",
                "give one value, or one for each channel",
            ) from None
        return self.spread_by_channel(spread)

    def spread_by_channel(self, spread: np.ndarray) -> np.ndarray:
        """Return ``spread`` (shape of the index) for each channel, as :meth:`by_channel`."""
        flat = np.full(self.shape[0] * self.shape[1] * self.shape[2], np.nan)
        flat[self.index.ravel()] = spread.ravel()
        rows = flat.reshape(self.shape[0], -1)
        if not (rows == rows[:, :1]).all():
            raise Unsupported(
                "its values differ inside a channel", "give one value for each channel"
            )
        result: np.ndarray = rows[:, 0].copy()
        return result


@dataclass(slots=True)
class Builder:
    """Collects the operations of a graph; ``steps`` are what codes leave of tensors with some."""

    ops: list[FloatOp] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    steps: dict[str, Steps] = field(default_factory=dict)

    def name(self, stem: str) -> str:
        """Return ``stem``, made unique."""
        name, count = stem, 1
        while name in self.used:
            count += 1
            name = f"{stem}_{count}"
        self.used.add(name)
        return name

    def pointwise(
        self,
        source: View,
        name: str,
        output: str,
        *,
        weight: np.ndarray | None = None,
        bias: np.ndarray | None = None,
        **rest: object,
    ) -> View:
        """Add a depthwise 1x1 operation on ``source`` and return its view."""
        channels = source.shape[0]
        ones = np.ones(channels) if weight is None else weight
        fields: dict[str, object] = {"useful": False, **rest}
        self.ops.append(
            FloatConv(
                name=self.name(name),
                input=source.name,
                output=output,
                window=Window(kernel=(1, 1)),
                groups=channels,
                weight=ones.reshape(channels, 1, 1, 1).astype(np.float64),
                bias=np.zeros(channels) if bias is None else bias.astype(np.float64),
                **fields,  # type: ignore[arg-type]
            )
        )
        return source.moved(output)


def array(tensor: torch.Tensor) -> np.ndarray:
    """Return a constant as a float64 array."""
    result: np.ndarray = tensor.detach().to(torch.float64).cpu().numpy()
    return result

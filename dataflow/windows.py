"""Windows of a maximum that reach beyond what there is: which outputs' are cut alike."""

from __future__ import annotations

from celosia.dataflow.jit import inlined

ENDLESS = 1 << 30
"""More rows and columns than there are."""


@inlined
def _cut(
    output: int, stride: int, dilation: int, kernel: int, low: int, high: int
) -> tuple[int, int]:
    """Return how many of a window's first elements lie before ``low``, and those from there on."""
    first = output * stride
    skipped = max(0, -((first - low) // dilation))
    return skipped, min(kernel, -(-(high - first) // dilation)) - skipped


@inlined
def cut_alike(
    output: int, stop: int, stride: int, dilation: int, kernel: int, low: int, high: int
) -> tuple[int, int, int]:
    """Return the outputs from ``output`` on whose windows are cut alike, ``stop`` the first not.

    Windows have ``kernel`` elements, ``dilation`` apart; that of output o begins at element
    ``o * stride``. Those before element ``low`` and from ``high`` on do not count. Also returned
    are how many of the first elements of each window do not, and how many of the others do.
    """
    skipped, left = _cut(output, stride, dilation, kernel, low, high)
    last = output + 1
    while last < stop and _cut(last, stride, dilation, kernel, low, high) == (skipped, left):
        last += 1
    return last, skipped, left

"""What a quantisation is asked to do."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass

from celosia.models.find_scales import DEFAULT_PERCENTILE, ScaleMethod
from celosia.models.formats import (
    BlockScaling,
    Element,
    Fixed,
    Format,
    ScaleFormat,
    Sp2,
    check_elements,
    parse_format,
    parse_scale,
)
from celosia.models.network import MAX_ACTIVATION_BITS, MAX_WIDE_BITS, Rounding
from celosia.models.tables import MAX_TABLE_BITS
from celosia.models.vectors import vector_limit


class Assignment(enum.Enum):
    """Which rows (output channels) of a layer get which of several formats.

    VARIANCE: rows of the lowest variance get the first format of the mix, those of the highest
    the last (MSQ, "Mix and Match", HPCA 2021; MSP, arXiv 2009.07460): formats that are dense
    near 0 come first, those of many bits last.
    MSE: so that the sum of the rows' squared errors, each in relation to its row, is least.
    HESSIAN: the rows in which the loss is most curved get the formats of the most bits, the
    others theirs by variance (RMSMP, ICCV 2021).
    """

    VARIANCE = "variance"
    MSE = "mse"
    HESSIAN = "hessian"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A format and the share of each layer's rows that get it.

    Attributes
    ----------
    format
        Holds -1, 0 and 1, as the weights of every layer do.
    ratio
        Above 0, at most 1.
    granule
        Rows are given in such portions where that is possible: the columns of this format
        that an array has, so that every tile holds the same mix.
    """

    format: Format
    ratio: float
    granule: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.format, Format) or isinstance(self.format, ScaleFormat):
            raise TypeError(f"format must be the Format of a weight, not {self.format!r}")
        if not {-1, 0, 1} <= set(self.format.values.tolist()):
            raise ValueError(
                f"format must hold weights of both signs (-1, 0 and 1), {self.format.name} does "
                "not: take one with a sign and at least two bits"
            )
        if not isinstance(self.ratio, int | float) or not 0 < self.ratio <= 1:
            raise ValueError(
                f"ratio of {self.format.name} must be above 0 and at most 1, not {self.ratio!r}"
            )
        if not isinstance(self.granule, int) or self.granule < 1:
            raise ValueError(
                f"granule of {self.format.name} must be a positive integer, not {self.granule!r}"
            )


def msq(bits: int = 4, sp2_ratio: float = 0.6) -> tuple[Share, ...]:
    """Return MSQ's mix: ``sp2_ratio`` (0..1) of the rows in SP2, the others in fixed point.

    Raises ``ValueError`` as the formats do, or if the ratio is out of range.
    """
    if not 0 <= sp2_ratio <= 1:
        raise ValueError(f"sp2_ratio must be in 0..1, not {sp2_ratio!r}")
    shares = []
    if sp2_ratio > 0:
        shares.append(Share(format=Sp2(bits=bits), ratio=sp2_ratio))
    if sp2_ratio < 1:
        shares.append(Share(format=Fixed(bits=bits), ratio=1 - sp2_ratio))
    return tuple(shares)


def parse_mix(text: str) -> tuple[Share, ...]:
    """Return the mix written as ``format:percent[/granule],...``, such as ``pot_4:60,fixed4:40``.

    A format alone has all rows. Raises ``ValueError`` saying what is wrong.
    """
    shares = []
    for part in text.split(","):
        match = re.fullmatch(
            r"\s*(?P<name>\w+)(:(?P<share>\d+(\.\d+)?)%?)?(/(?P<granule>\d+))?\s*", part
        )
        if match is None:
            raise ValueError(
                f"weights {part!r} are not understood: write format:percent for each format, "
                "such as pot_4:60,fixed4:35,fixed8:5"
            )
        shares.append(
            Share(
                format=parse_format(match["name"]),
                ratio=float(match["share"] or 100) / 100,
                granule=int(match["granule"] or 1),
            )
        )
    return tuple(shares)


def parse_blocks(text: str) -> BlockScaling:
    """Return the scaling written as ``scale:vector[/product_bits]``.

    Such as ``e8m0_4:32``, or ``uint4:16/6`` for products of scales that are rounded to 6 bits.
    Raises ``ValueError`` saying what is wrong.
    """
    match = re.fullmatch(r"(?P<name>\w+):(?P<vector>\d+)(/(?P<kept>\d+))?", text)
    if match is None:
        raise ValueError(
            f"blocks {text!r} are not understood: write scale:vector, such as uint4:16, or "
            "uint4:16/6 to keep 6 bits of a product of scales"
        )
    kept = match["kept"]
    return BlockScaling(
        scale=parse_scale(match["name"]),
        vector=int(match["vector"]),
        product_bits=None if kept is None else int(kept),
    )


def parse_elements(text: str) -> Element:
    """Return the format of elements called ``text``, such as ``esb4_1`` or ``ufixed4``.

    Raises ``ValueError`` saying what is wrong.
    """
    try:
        return check_elements(parse_format(text))
    except TypeError as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to quantise a network.

    Attributes
    ----------
    weights
        Formats of the weights and the share of each layer's rows that get them; the
        ratios add up to 1.
    activation_bits
        Bits of an activation, 1 to 16.
    first_last_8bit
        Whether the first and last layers have fixed 8-bit weights and the network's
        inputs and outputs 8 bits.
    assignment
        How rows are chosen for the formats.
    scale
        How the scales of weight rows are found. With ``MSE`` they are fitted again while
        weights are rounded with error feedback; the others stay as they are found.
    activation_scale
        How the scales of activations are found.
    percentile
        For ``ScaleMethod.PERCENTILE``: the share in per cent that is not clipped.
    blocks
        Scales for vectors of weights; None for one scale a row. Where a layer's groups, or the
        members of a concat that it reads, are no whole vectors, it has a scale a row.
    uneven_vectors
        Whether vectors need not divide the channels of layers that have more: the last one is
        short, or, in groups, there is a scale a row. Without it such layers are refused; those
        of fewer channels than a vector never are.
    elements
        With ``blocks``, tensors between convolutions, poolings and joins get scales of the same
        kind, made for each input as it comes, and elements of this format, fixed point or ESB of
        2 to 8 bits. One with a sign is that of all such tensors (MX, NVFP4); one without that of
        tensors without negative values, the others get the same with a sign (VS-Quant). ``None``:
        one scale a tensor for all, as inputs and outputs have in any case.
    rounding
        Rounding of the requantisation.
    error_feedback
        Whether weights are fitted to what the quantised layers before them give, and
        rounded so that their errors cancel on the calibration data. Without it every weight
        is rounded to the nearest.
    output_bits
        Bits of the network's outputs, 1 to 16; None for what the other fields say. Scores are
        compared, not added up, so their width decides about ties only.
    table_bits
        Bits of the index into the table of a function such as a sigmoid, 4 to 12.
    seed
        Where ``Assignment.HESSIAN`` begins its search. The same seed gives the same network.
    """

    weights: tuple[Share, ...] = msq()
    activation_bits: int = 8
    first_last_8bit: bool = False
    assignment: Assignment = Assignment.VARIANCE
    scale: ScaleMethod = ScaleMethod.MSE
    activation_scale: ScaleMethod = ScaleMethod.MSE
    percentile: float = DEFAULT_PERCENTILE
    blocks: BlockScaling | None = None
    uneven_vectors: bool = False
    elements: Element | None = None
    rounding: Rounding = Rounding.HALF_EVEN
    error_feedback: bool = True
    output_bits: int | None = None
    table_bits: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for field, kind in (
            ("assignment", Assignment),
            ("scale", ScaleMethod),
            ("activation_scale", ScaleMethod),
            ("rounding", Rounding),
        ):
            if not isinstance(getattr(self, field), kind):
                article = "an" if kind is Assignment else "a"
                raise TypeError(
                    f"{field} must be {article} {kind.__name__}, not {getattr(self, field)!r}"
                )
        self._check_mix()
        for field in ("activation_bits", "output_bits"):
            value = getattr(self, field)
            if value is None and field == "output_bits":
                continue
            if not isinstance(value, int) or not 1 <= value <= MAX_ACTIVATION_BITS:
                raise ValueError(f"{field} must be in 1..{MAX_ACTIVATION_BITS}, not {value!r}")
        if not isinstance(self.table_bits, int) or not 4 <= self.table_bits <= MAX_TABLE_BITS:
            raise ValueError(f"table_bits must be in 4..{MAX_TABLE_BITS}, not {self.table_bits!r}")
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile must be above 0 and at most 100, not {self.percentile!r}")
        if self.blocks is not None and not isinstance(self.blocks, BlockScaling):
            raise TypeError(f"blocks must be a BlockScaling or None, not {self.blocks!r}")
        if self.uneven_vectors and self.blocks is None:
            raise ValueError("uneven_vectors need blocks, such as uint4:16: there are none")
        if self.elements is not None:
            self._check_elements(self.elements)

    def _check_elements(self, elements: Element) -> None:
        check_elements(elements)
        if self.blocks is None:
            raise ValueError(
                f"elements need blocks, such as uint4:16, for their scales: there are none for "
                f"{elements.name}"
            )
        if vector_limit(elements, self.blocks) >= 1 << MAX_WIDE_BITS - 1:
            raise ValueError(
                f"elements times scales must stay below 2**{MAX_WIDE_BITS - 1}: {elements.name} "
                f"with {self.blocks.scale.name} do not, take a scale of fewer bits"
            )

    def _check_mix(self) -> None:
        if not isinstance(self.weights, tuple) or not self.weights:
            raise ValueError(f"weights must be a tuple of shares, not {self.weights!r}")
        for share in self.weights:
            if not isinstance(share, Share):
                raise TypeError(f"weights must hold Share values, not {share!r}")
        names = [share.format.name for share in self.weights]
        if len(set(names)) < len(names):
            raise ValueError(f"weights must name each format once, not {', '.join(names)}")
        total = math.fsum(share.ratio for share in self.weights)
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"the ratios of weights must add up to 100 %, not {100 * total:.12g} %: "
                + ", ".join(f"{s.format.name} {100 * s.ratio:.12g} %" for s in self.weights)
            )
        if self.assignment is Assignment.HESSIAN and not self.precise:
            raise ValueError(
                "assignment hessian needs weights of different bits, such as fixed4 and fixed8; "
                f"there are {', '.join(names)}: use variance or mse"
            )

    @property
    def precise(self) -> frozenset[Format]:
        """The formats of the most bits, where some have fewer."""
        most = max(share.format.bits for share in self.weights)
        formats = frozenset(s.format for s in self.weights if s.format.bits == most)
        return formats if len(formats) < len(self.weights) else frozenset()

    @property
    def text(self) -> str:
        """The mix and the activations' width, in words."""
        mix = ", ".join(f"{100 * s.ratio:.4g} % {s.format.name}" for s in self.weights)
        scales = ""
        if self.blocks is not None:
            scales = f", a {self.blocks.scale.name} scale for {self.blocks.vector} weights"
            scales += " or fewer" if self.uneven_vectors else ""
        elements = ""
        if self.elements is not None:
            elements = f", between layers {self.elements.name} with scales like those"
        return (
            f"rows of each layer: {mix}{scales}; activations of {self.activation_bits} bits"
            f"{elements}"
        )

    @property
    def input_width(self) -> int:
        """Bits of the network's inputs."""
        return 8 if self.first_last_8bit else self.activation_bits

    @property
    def output_width(self) -> int:
        """Bits of the network's outputs."""
        return self.output_bits or self.input_width

"""What a compression is asked to do."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from celosia.models.checks import integers
from celosia.models.eie import MAX_PES
from celosia.models.formats.codebook import MAX_CODEBOOK_BITS, MAX_VALUE_BITS
from celosia.models.network import MAX_ACCUMULATOR_BITS, MAX_ACTIVATION_BITS


class Start(enum.Enum):
    """Where the centroids of weight sharing begin ("Deep Compression", section 3.2).

    LINEAR: evenly from the least weight to the greatest; the paper's best, as the few large weights
    keep centroids of their own. DENSITY: at even steps of the weights' distribution. RANDOM:
    weights drawn at random.
    """

    LINEAR = "linear"
    DENSITY = "density"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Equal shares of a mask for each of ``pes`` PEs (1..256).

    PE k has rows k, k + pes ... . In each ``window`` of columns, from the first on, PEs have
    equally many weights, or one more. With ``permute`` rows change places first, so that equal
    shares are nearly what the largest weights would be anyhow; layers beside masks from outside
    keep their order.
    """

    pes: int
    window: int = 16
    permute: bool = False

    def __post_init__(self) -> None:
        for name, value, high in (("pes", self.pes, MAX_PES), ("window", self.window, 1 << 20)):
            if not integers((value,)) or not 1 <= value <= high:
                raise ValueError(f"{name} must be an integer in 1..{high}, not {value!r}")
        if not isinstance(self.permute, bool):
            raise TypeError(f"permute must be true or false, not {self.permute!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """How to compress a network of fully connected layers.

    Attributes
    ----------
    density
        Share of each layer's weights that stays, above 0; 1 prunes nothing.
    densities
        The same for single layers, by name.
    balance
        Over which PEs masks are balanced; None for the largest weights wherever they are.
    clusters
        Entries of each layer's codebook, 2 to 256, the 0 included; None for weights of
        ``weight_bits``.
    start
        Where centroids begin.
    weight_bits
        Of weights without a codebook, 2 to 16.
    activation_bits
        1 to 16. Activations that are never negative have no sign: an engine that holds a sign
        needs a bit more.
    accumulator_bits
        Which no sum may exceed: values of codebooks are scaled accordingly, 16 to 44.
    seed
        Of what is drawn at random: samples' order, random starts; not negative.
    """

    density: float = 0.1
    densities: Mapping[str, float] = field(default_factory=dict)
    balance: Balance | None = None
    clusters: int | None = 16
    start: Start = Start.LINEAR
    weight_bits: int = 8
    activation_bits: int = 8
    accumulator_bits: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "densities", MappingProxyType(dict(self.densities)))
        for name, value in (("density", self.density), *self.densities.items()):
            if not isinstance(value, int | float) or not 0 < value <= 1:
                of = name if name == "density" else f"density of {name!r}"
                raise ValueError(f"{of} must be above 0 and at most 1, not {value!r}")
        if self.balance is not None and not isinstance(self.balance, Balance):
            raise TypeError(f"balance must be a Balance or None, not {self.balance!r}")
        if not isinstance(self.start, Start):
            raise TypeError(f"start must be a Start, not {self.start!r}")
        most = 1 << MAX_CODEBOOK_BITS
        if self.clusters is not None and (
            not integers((self.clusters,)) or not 2 <= self.clusters <= most
        ):
            raise ValueError(
                f"clusters must be 2 to {most}, as codes have at most {MAX_CODEBOOK_BITS} bits, or "
                f"None, not {self.clusters!r}"
            )
        for name, low, high in (
            ("weight_bits", 2, MAX_VALUE_BITS),
            ("activation_bits", 1, MAX_ACTIVATION_BITS),
            ("accumulator_bits", 16, MAX_ACCUMULATOR_BITS),
            ("seed", 0, (1 << 63) - 1),
        ):
            value = getattr(self, name)
            if not integers((value,)) or not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value!r}")

    @property
    def code_bits(self) -> int:
        """Bits of a weight in an entry: of a codebook's index, or the weight's own."""
        return self.weight_bits if self.clusters is None else (self.clusters - 1).bit_length()

    @property
    def value_bits(self) -> int:
        """Bits of what an activation is multiplied by."""
        return self.weight_bits if self.clusters is None else MAX_VALUE_BITS

    def density_of(self, layer: str) -> float:
        """Return the density of the layer called ``layer``."""
        return self.densities.get(layer, self.density)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """How long to retrain.

    ``stages`` steps of pruning lead to the wanted density, the first ones the largest (Zhu and
    Gupta, 2017: what is still to go falls with the cube of the time left); after each come
    ``epochs`` passes over the data with the mask held, and as many over codebooks. No epochs: no
    retraining, and one stage. ``batch`` samples make a step; ``learning_rate`` is a share of
    parameters' magnitude.
    """

    epochs: int = 8
    stages: int = 4
    batch: int = 32
    learning_rate: float = 3e-2

    def __post_init__(self) -> None:
        for name, low in (("epochs", 0), ("stages", 1), ("batch", 1)):
            value = getattr(self, name)
            if not integers((value,)) or value < low:
                raise ValueError(f"{name} must be an integer of {low} or more, not {value!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate!r}")

    def densities(self, target: float) -> tuple[float, ...]:
        """Return the density of each stage, falling to ``target``."""
        stages = self.stages if self.epochs else 1
        return tuple(
            target + (1 - target) * (1 - stage / stages) ** 3 for stage in range(1, stages + 1)
        )

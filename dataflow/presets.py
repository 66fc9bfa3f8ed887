"""Ready-made accelerators, by name.

``python -c "from celosia.dataflow.presets import preset; print(preset('zcu102'))"``
"""

from __future__ import annotations

from dataclasses import replace

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus, Tables
from celosia.dataflow.accelerator_file import scaling_lines
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup, Depthwise
from celosia.models.errors import CelosiaError
from celosia.models.formats import BlockScaling, check_elements, parse_format, parse_scale
from celosia.models.network import MAX_ACCUMULATOR_BITS, Conv, Network


def _make(
    name: str,
    columns: dict[str, int],
    size: tuple[int, int],
    buffers: Buffers,
    bus: Bus,
    post_lanes: int,
) -> Accelerator:
    groups = tuple(ColumnGroup(format=parse_format(key), count=n) for key, n in columns.items())
    lanes, pixels = size
    array = ArrayShape(columns=groups, lanes=lanes, pixels=pixels)
    return Accelerator(name=name, array=array, buffers=buffers, bus=bus, post_lanes=post_lanes)


def _vectors(
    name: str, weights: str, scale: str, vector: int, elements: str, product_bits: int | None = None
) -> Accelerator:
    """Return a square array, as a vector of outputs needs, whose operands both have scales."""
    scaling = BlockScaling(scale=parse_scale(scale), vector=vector, product_bits=product_bits)
    array = ArrayShape(
        columns=(ColumnGroup(format=parse_format(weights), count=vector),),
        lanes=vector,
        pixels=1,
        accumulator_bits=MAX_ACCUMULATOR_BITS,
        scaling=scaling,
        elements=check_elements(parse_format(elements)),
    )
    buffers = _buffers(2048, 1024, 512, 128, 1024, 1024)
    return Accelerator(name=name, array=array, buffers=buffers, bus=_WIDE, post_lanes=vector)


def _dense(
    name: str, columns: int, size: tuple[int, int], depths: tuple[int, ...], ports: int = 1,
    depthwise: Depthwise | None = None, weights: str = "fixed4", tables: Tables | None = None,
) -> Accelerator:  # fmt: skip
    """Return an array of ``weights`` that posts a word of outputs a cycle."""
    made = _make(
        name, {weights: columns}, size, replace(_buffers(*depths), activation_banks=2),
        Bus(data_bits=128 * ports, ports=ports, burst_beats=64, outstanding=16), size[0],
    )  # fmt: skip
    return replace(made, array=replace(made.array, depthwise=depthwise), tables=tables)


def _packed(
    name: str, columns: dict[str, tuple[int, Circuit]], size: tuple[int, int],
    depths: tuple[int, ...], post_lanes: int,
) -> Accelerator:  # fmt: skip
    """Return an array for weights and activations of 4 bits behind four ports of 128 bits."""
    groups = tuple(
        ColumnGroup(format=parse_format(key), count=count, circuit=circuit)
        for key, (count, circuit) in columns.items()
    )
    lanes, pixels = size
    array = ArrayShape(
        columns=groups, lanes=lanes, pixels=pixels, accumulator_bits=24, activation_bits=4
    )
    return Accelerator(
        name=name, array=array, buffers=replace(_buffers(*depths), activation_banks=2),
        bus=Bus(data_bits=512, ports=4, burst_beats=64, outstanding=16), post_lanes=post_lanes,
    )  # fmt: skip


def _buffers(*depths: int) -> Buffers:
    activations, weights, accumulators, constants, residuals, outputs = depths
    return Buffers(
        activations=activations,
        weights=weights,
        accumulators=accumulators,
        constants=constants,
        residuals=residuals,
        outputs=outputs,
    )


_TABLES = Tables(index_bits=10, count=2)
_WIDE = Bus(data_bits=128, burst_beats=64, outstanding=8)
_NARROW = Bus(data_bits=64, burst_beats=32, outstanding=4)

_PRESETS = (
    _make(
        "tiny", {"sp2_4": 1, "fixed8": 1}, (4, 1),
        _buffers(1024, 1024, 256, 64, 512, 512), _NARROW, 2,
    ),
    _make(
        "small", {"sp2_4": 4, "fixed8": 4}, (8, 1),
        _buffers(2048, 1024, 512, 128, 1024, 1024), _NARROW, 4,
    ),
    _make(
        "medium", {"sp2_4": 8, "fixed8": 8}, (16, 2),
        _buffers(2048, 1024, 512, 128, 2048, 2048), _WIDE, 8,
    ),
    # 28 fixed8 columns: the 28 8-bit rows of R-Net's first layer fit one tile; with 36 sp2_4
    # columns so do 64 rows of which 60 % are sp2_4 (fixed8 covers sp2_4 and fixed4).
    _make(
        "zcu102", {"sp2_4": 36, "fixed8": 28}, (16, 2),
        _buffers(4096, 1024, 512, 64, 4096, 4096), _WIDE, 16,
    ),
    _make(
        "large", {"sp2_4": 36, "fixed8": 28}, (16, 4),
        _buffers(4096, 1024, 512, 64, 8192, 8192), Bus(data_bits=256, burst_beats=64), 16,
    ),
    replace(
        _make(
            "small_act", {"fixed4": 4, "fixed8": 4}, (8, 1),
            _buffers(2048, 1024, 512, 128, 1024, 1024), _NARROW, 4,
        ),
        tables=_TABLES,
    ),
    # LFE5U-85F: 156 multipliers of 18x18 and 208 block memories of 18 kbit. The four fixed8
    # columns take 32 multipliers, post 2 or 3 for each of its lanes; the buffers about 70 memories.
    _make(
        "ecp5", {"sp2_4": 4, "fixed8": 4}, (8, 1),
        _buffers(2048, 1024, 512, 64, 1024, 1024), _NARROW, 2,
    ),
    # For whole networks of 8-bit activations and 4-bit weights on a ZCU102, one 128-bit port for
    # each 1,024 products a cycle: weights stream once, two banks keep what fits of activations.
    _dense("dense1k", 32, (32, 1), (16384, 2048, 4096, 64, 4096, 4096)),
    # Depthwise convolutions, whose tensors stay on chip up to 56 x 56 x 160 values.
    _dense(
        "dense1k_dw", 32, (32, 1), (65536, 2048, 1024, 64, 4096, 4096),
        depthwise=Depthwise(rows=5, columns=5, width=256),
    ),
    # The same for weights of 8 bits, such as those of networks that others quantised.
    _dense(
        "dense1k_w8", 32, (32, 1), (65536, 2048, 1024, 64, 4096, 4096),
        depthwise=Depthwise(rows=5, columns=5, width=256), weights="fixed8",
    ),
    # The same with tables, for swish and its like.
    _dense(
        "dense1k_act", 32, (32, 1), (65536, 2048, 1024, 64, 4096, 4096),
        depthwise=Depthwise(rows=5, columns=5, width=256), weights="fixed8", tables=_TABLES,
    ),
    # Few channels: four bands of rows share the weights.
    _dense("dense1k_x4", 16, (16, 4), (4096, 2048, 1024, 64, 4096, 4096)),
    _dense("dense4k", 64, (64, 1), (8192, 512, 2048, 64, 4096, 4096), ports=4),
    # 12,288 products a cycle of a ZU9EG, four to a DSP block in the fixed-point columns.
    _packed(
        "zcu102_w4a4", {"fixed4": (64, Circuit.DSP), "sp2_4": (32, Circuit.LUTS)}, (64, 2),
        (16384, 512, 512, 64, 1024, 2048), 32,
    ),
    _vectors("small_vsq", "fixed4", "uint4", 16, "ufixed4", product_bits=6),
    _vectors("small_mxfp4", "esb4_1", "e8m0_4", 32, "esb4_1"),
    _vectors("small_nvfp4", "esb4_1", "ue4m3", 16, "esb4_1"),
)  # fmt: skip

PRESETS = {accelerator.name: accelerator for accelerator in _PRESETS}
"""All presets by name."""


def preset(name: str) -> Accelerator:
    """Return the ready-made accelerator called ``name``.

    Raises :class:`CelosiaError` listing the known names.
    """
    if name not in PRESETS:
        raise CelosiaError(f"unknown accelerator {name!r}: known are {', '.join(PRESETS)}")
    return PRESETS[name]


def scaling_advice(network: Network) -> str:
    """Return which accelerators have the scales of vectors of ``network``: presets, or a table."""
    tensors = [tensor for tensor in network.tensors if tensor.scaling is not None]
    scaled = [op for op in network.ops if isinstance(op, Conv) and op.scales is not None]
    scaling = next(
        (tensor.scaling for tensor in tensors if tensor.scaling is not None),
        next((op.scales.scaling for op in scaled if op.scales is not None), None),
    )
    if scaling is None:
        raise ValueError(f"network {network.name!r} has no scales of vectors")
    # Where some have a sign and some none, all are of what is without.
    elements = min((tensor.format for tensor in tensors), key=lambda f: f.signed, default=None)
    rows = {fmt for op in network.ops if isinstance(op, Conv) for fmt in op.formats}
    names = [
        name
        for name, known in PRESETS.items()
        if known.array.scaling == scaling
        and (elements is None or known.array.elements == elements)
        and all(any(g.format.covers(fmt) for g in known.array.columns) for fmt in rows)
    ]
    presets = f"take the preset {' or '.join(names)}, or " if names else ""
    _, *lines = scaling_lines(scaling, elements)
    return f"{presets}give the accelerator [array.scaling] with {', '.join(lines)}"

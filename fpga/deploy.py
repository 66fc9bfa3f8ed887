"""From a program to what a driver needs of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from celosia.dataflow.descriptors import DESCRIPTOR_BYTES, Keep
from celosia.dataflow.engines import kind_of
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.dataflow.program import BaseProgram
from celosia.fpga.driver.deployment import Deployment
from celosia.rtl.core import core_fingerprint, core_registers, hardware_of
from celosia.rtl.image import program_image


def deploy(program: BaseProgram) -> Deployment:
    """Return what :meth:`celosia.fpga.driver.Accelerator.load` writes into an engine's memory.

    For programs of networks on any engine.
    """
    accelerator: Any = program.accelerator
    encode = hardware_of(accelerator).encode
    start = program.program_address - program.base_address
    relocations = [
        (start + index * DESCRIPTOR_BYTES, bit)
        for index, descriptor in enumerate(program.descriptors)
        if (bit := _address_bit(descriptor, encode)) is not None
    ]
    names = dict.fromkeys((*program.inputs, *program.outputs))
    bus = accelerator.bus
    return Deployment(
        network=program.network,
        accelerator=accelerator.name,
        fingerprint=core_fingerprint(accelerator),
        registers={register.name: register.offset for register in core_registers(accelerator)},
        counters=tuple(counter.name.lower() for counter in kind_of(accelerator).counters),
        ports=bus.ports,
        beat_bytes=bus.data_bytes,
        address_bits=bus.address_bits,
        image=program_image(program),
        base=program.base_address,
        program_address=program.program_address,
        chunks=program.chunks,
        samples=program.samples,
        inputs=program.inputs,
        outputs=program.outputs,
        placements=tuple(program.placement(name) for name in names),
        stamps=tuple((layer.name, layer.stamp) for layer in program.layers),
        relocations=np.array(relocations, np.int64).reshape(-1, 2),
        products=program.products,
    )


def _address_bit(descriptor: Any, encode: Callable[[Any], int]) -> int | None:
    """Return from which bit on the code of ``descriptor`` holds an address; None where it has none.

    Found by moving it by a page: no second table of layouts to be kept in step.
    """
    if isinstance(descriptor, Keep):  # its address counts words of a buffer
        return None
    if hasattr(descriptor, "transfer"):
        transfer = descriptor.transfer
        further = replace(transfer, address=transfer.address + PAGE_BYTES)
        moved = replace(descriptor, transfer=further)
    elif hasattr(descriptor, "address"):
        moved = replace(descriptor, address=descriptor.address + PAGE_BYTES)
    else:
        return None
    return ((encode(moved) - encode(descriptor)) // PAGE_BYTES).bit_length() - 1

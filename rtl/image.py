"""The memory that a program starts from, as the hardware reads it."""

from __future__ import annotations

import numpy as np

from celosia.dataflow.descriptors import DESCRIPTOR_BYTES
from celosia.dataflow.program import BaseProgram
from celosia.rtl.core import hardware_of


def program_image(program: BaseProgram) -> np.ndarray:
    """Return the initial memory of ``program``, uint8, with its descriptors encoded."""
    image = program.image.copy()
    start = program.program_address - program.base_address
    encode = hardware_of(program.accelerator).encode
    for descriptor in program.descriptors:
        code = encode(descriptor).to_bytes(DESCRIPTOR_BYTES, "little")
        image[start : start + DESCRIPTOR_BYTES] = np.frombuffer(code, np.uint8)
        start += DESCRIPTOR_BYTES
    return image

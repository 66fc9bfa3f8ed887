"""What is in the memories inside a simulated dense engine, word by word."""

from __future__ import annotations

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Buffer
from celosia.dataflow.dsp import column_units
from celosia.dataflow.provenance import Memory, Place
from celosia.rtl.core import core_name
from celosia.sim.library import Model


class Inside:
    """The memories of one dense engine in a traced build.

    Parameters
    ----------
    accelerator : Accelerator
        What was built.
    model : Model
        One instance of it.
    """

    def __init__(self, accelerator: Accelerator, model: Model) -> None:
        self._accelerator = accelerator
        self._model = model
        self._top = f"{core_name(accelerator)}.engine"
        self._columns = {
            column: ("_".join(map(str, ("column", *unit.positions))), number)
            for unit in column_units(accelerator.array)
            for number, column in enumerate(unit.positions)
        }

    def read(self, place: Place) -> int | None:
        """Return what is at ``place`` now; None where the engine has no such memory.

        That is a whole word of an input buffer, one accumulator, its bits without a sign, or the
        code of one lane of an output word.
        """
        match place.memory:
            case Memory.DRAM:
                return None
            case Memory.ACCUMULATORS:
                unit, number = self._columns[place.lane]
                name = f"accumulators_{number * self._accelerator.array.pixels + place.pixel}"
                return self._model.peek(f"{self._top}.array.{unit}", name, place.address)
            case Memory.OUTPUTS:
                lanes, bits = self._accelerator.post_lanes, self._accelerator.array.activation_bits
                group, lane = divmod(place.lane, lanes)
                row = self._row(f"output_buffer.group_{group}", place.address)
                return None if row is None else row >> lane * bits & (1 << bits) - 1
            case Memory.TABLES:
                return self._row(f"post.lookup_{place.lane}.entries", place.address)
            case _:
                return self._word(Buffer[place.memory.name], place)

    def _row(self, path: str, row: int) -> int | None:
        return self._model.peek(f"{self._top}.{path}", "rows", row)

    def _word(self, target: Buffer, place: Place) -> int | None:
        """Return a word of an input buffer: its beats lie in memories of their own."""
        accelerator, buffers = self._accelerator, self._accelerator.buffers
        bits, depth = {
            Buffer.ACTIVATIONS: (accelerator.activation_word_bits, buffers.activations),
            Buffer.WEIGHTS: (accelerator.weight_word_bits, buffers.weights),
            Buffer.CONSTANTS: (accelerator.constant_word_bits, buffers.constants),
            Buffer.RESIDUALS: (accelerator.activation_word_bits, buffers.residuals),
        }[target]
        bank, row = "", place.address
        if target is Buffer.ACTIVATIONS and buffers.keeps:
            number, row = divmod(place.address, depth // buffers.activation_banks)
            bank = f"bank_{number}_"
        word = 0
        for index in range(accelerator.beats(bits)):
            path = f"{target.name.lower()}_buffer.{bank}lane_{place.pixel}_beat_{index}"
            beat = self._row(path, row)
            if beat is None:
                return None
            word |= beat << index * accelerator.bus.data_bits
        return word

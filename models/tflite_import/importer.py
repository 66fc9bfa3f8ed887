"""From a TFLite file of integers to an integer network."""

from __future__ import annotations

from pathlib import Path

from celosia.models.errors import CelosiaError
from celosia.models.import_values import Unsupported
from celosia.models.integer.grids import Imported
from celosia.models.tflite_import.operators import HANDLERS
from celosia.models.tflite_import.reader import read_model
from celosia.models.tflite_import.walk import Walk


def import_tflite(path: str | Path) -> Imported:
    """Import a quantised TFLite file as an integer network.

    Raises
    ------
    CelosiaError
        If the file is damaged, or something cannot be imported: names the tensor that it writes.
    """
    model = read_model(path)
    try:
        return Walk(model, HANDLERS).run()
    except Unsupported as error:
        raise CelosiaError(f"{path} cannot be imported: {error.reason}; {error.remedy}") from error
    except CelosiaError:
        raise
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise CelosiaError(
            f"{path} cannot be imported: {error}; convert the model again"
        ) from error

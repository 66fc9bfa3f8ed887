"""Model files of all kinds: which importer reads which."""

from __future__ import annotations

from pathlib import Path

from celosia.models.archive import load_model
from celosia.models.errors import CelosiaError
from celosia.models.graph import FloatGraph
from celosia.models.import_values import Finding
from celosia.models.importer import check_model, import_program
from celosia.models.integer.grids import Imported

ONNX = ".onnx"
TFLITE = ".tflite"


def real_graph(path: str | Path) -> FloatGraph:
    """Return the fused float graph of a ``.pt2`` or ``.onnx`` file, named as the file.

    Raises :class:`CelosiaError` if it cannot be imported, or is quantised.
    """
    kind = Path(path).suffix.lower()
    if kind == TFLITE:
        raise CelosiaError(
            f"{path}: of .tflite files only quantised ones are read: `celosia import` makes "
            "networks of those"
        )
    if kind == ONNX:
        from celosia.models.onnx_import.importer import import_onnx

        return import_onnx(path)
    return import_program(load_model(path), Path(path).stem)


def quantised_network(path: str | Path) -> Imported:
    """Return the integer network of a quantised ``.onnx`` or ``.tflite`` file.

    Raises :class:`CelosiaError` if it cannot be imported, or is not quantised.
    """
    kind = Path(path).suffix.lower()
    if kind == ONNX:
        from celosia.models.onnx_import.importer import import_quantised_onnx

        return import_quantised_onnx(path)
    if kind == TFLITE:
        from celosia.models.tflite_import.importer import import_tflite

        return import_tflite(path)
    raise CelosiaError(
        f"{path} is neither an .onnx nor a .tflite file: `celosia quantize` makes networks of "
        ".pt2 files"
    )


def check_file(path: str | Path) -> tuple[list[Finding], tuple[str, ...]]:
    """Return what of a ``.pt2`` or ``.onnx`` file cannot be imported, and notes on the rest.

    Raises :class:`CelosiaError` if the file cannot be read at all.
    """
    if Path(path).suffix.lower() == ONNX:
        from celosia.models.onnx_import.importer import check_onnx

        return check_onnx(path)
    exported = load_model(path)
    findings = check_model(exported)
    return findings, () if findings else import_program(exported).notes

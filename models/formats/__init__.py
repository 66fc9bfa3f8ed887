"""Number formats: exact maps between integer values and codes. Imports numpy only."""

from celosia.models.formats.base import (
    Format,
    decode_rows,
    encode_rows,
    parse_format,
    register_format,
    rows_of,
)
from celosia.models.formats.codebook import Codebook
from celosia.models.formats.elements import (
    Element,
    check_elements,
    element_formats,
    element_of,
)
from celosia.models.formats.esb import Esb
from celosia.models.formats.fixed import Fixed
from celosia.models.formats.pot import Pot
from celosia.models.formats.scales import (
    E8M0,
    UE4M3,
    VECTORS,
    BlockScaling,
    IntScale,
    ScaleFormat,
    parse_scale,
)
from celosia.models.formats.sp2 import Sp2

__all__ = [
    "E8M0",
    "UE4M3",
    "VECTORS",
    "BlockScaling",
    "Codebook",
    "Element",
    "Esb",
    "Fixed",
    "Format",
    "IntScale",
    "Pot",
    "ScaleFormat",
    "Sp2",
    "check_elements",
    "decode_rows",
    "element_formats",
    "element_of",
    "encode_rows",
    "parse_format",
    "parse_scale",
    "register_format",
    "rows_of",
]

"""Number formats: exact maps between integer values and codes. Imports numpy only."""

from celosia.models.formats.base import Format, parse_format, register_format
from celosia.models.formats.esb import Esb
from celosia.models.formats.fixed import Fixed
from celosia.models.formats.pot import Pot
from celosia.models.formats.sp2 import Sp2

__all__ = ["Esb", "Fixed", "Format", "Pot", "Sp2", "parse_format", "register_format"]

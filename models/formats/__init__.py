"""Number formats: exact maps between integer values and codes. Imports numpy only."""

from celosia.models.formats.base import Format, parse_format
from celosia.models.formats.fixed import Fixed
from celosia.models.formats.sp2 import Sp2

__all__ = ["Fixed", "Format", "Sp2", "parse_format"]

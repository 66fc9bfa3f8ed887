"""Where what is worth keeping between runs lies on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_root() -> Path:
    """Return the folder that ``CELOSIA_CACHE`` names, or the user's cache folder."""
    chosen = os.environ.get("CELOSIA_CACHE")
    return Path(chosen).absolute() if chosen else platformdirs.user_cache_path("celosia")

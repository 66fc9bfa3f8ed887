"""The celosia command: a thin layer over the Python API."""

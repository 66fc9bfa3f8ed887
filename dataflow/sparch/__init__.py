"""The SpArch engine: sparse matrix times sparse matrix by a streaming merge tree."""

"""Accelerator descriptions, mappings, the compiler to programs, exact timing."""

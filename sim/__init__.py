"""Verilator builds, the native run loop, memory models, cocotb benches, cross-check."""

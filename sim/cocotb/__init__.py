"""Benches in cocotb: the engine against AXI models that nobody here wrote."""

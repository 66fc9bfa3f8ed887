"""Amaranth components, descriptor layouts, the Verilog writer."""

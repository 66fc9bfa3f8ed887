"""Boards as data, vendor variants, synthesis and bitstream flows, resource reports."""

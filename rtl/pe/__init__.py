"""Multipliers, one for each number format."""

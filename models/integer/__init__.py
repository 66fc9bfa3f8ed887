"""From graphs whose codes are given by a file to integer networks, as exactly as can be."""

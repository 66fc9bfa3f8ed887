"""Boards with a serial port, simulated behind a pseudo-terminal."""

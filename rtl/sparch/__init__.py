"""The SpArch engine in hardware."""

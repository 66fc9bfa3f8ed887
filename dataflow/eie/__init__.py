"""The EIE engine: its description, programs, compiler and exact timing."""

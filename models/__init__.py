"""Number formats, the integer-exact network, quantisers, importers, golden functions."""

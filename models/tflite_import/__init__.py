"""Import of quantised TFLite files."""

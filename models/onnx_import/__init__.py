"""Import of ONNX files: real ones to float graphs, quantised ones (QDQ, QONNX) to networks."""

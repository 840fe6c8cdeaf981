"""Does onnxsim make our ONNX files faster or smaller? Measured on every variant: `make onnxsim`."""

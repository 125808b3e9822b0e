"""Convert an ONNX file: of the ONNX Model Zoo, of PyTorch, of tf2onnx, or of `tfalexnet export`.

    python converters/onnx_to_keras.py bvlcalexnet-12.onnx

The order of normalisation and pooling in the graph tells AlexNet from CaffeNet. Quantised weights are de-quantised, and
a note says so. The package onnx is not needed. The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

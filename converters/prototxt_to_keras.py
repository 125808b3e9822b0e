"""Convert weights of Caffe whose network is in a prototxt of its own, to Keras weights that store the network.

    python converters/prototxt_to_keras.py net.caffemodel --prototxt deploy.prototxt --mean mean.binaryproto

The prototxt, deploy or train_val, must be a chain of layers; others are named and refused. Caffe is not required.
The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

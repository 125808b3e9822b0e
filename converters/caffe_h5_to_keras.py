"""Convert a .caffemodel.h5, which Caffe writes with `snapshot_format: HDF5`, to Keras weights.

    python converters/caffe_h5_to_keras.py net_iter_10000.caffemodel.h5

Caffe is not required. The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

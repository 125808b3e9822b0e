"""Convert a .caffemodel written by Caffe since 2014 to Keras weights.

    python converters/caffemodel_to_keras.py bvlc_alexnet.caffemodel

Caffe is not required. Writes weights/bvlc_alexnet.weights.h5. A file of 244 MB takes about a second.
The shapes of bvlc_alexnet and bvlc_reference_caffenet are equal; the order of the layers in the file
distinguishes them. --architecture overrides it.
The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

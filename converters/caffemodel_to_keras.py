"""Convert what Caffe itself wrote, of 2014 or later, for Keras.

    python converters/caffemodel_to_keras.py bvlc_alexnet.caffemodel

No Caffe is needed. 244 MB take about a second and become weights/bvlc_alexnet.weights.h5.
bvlc_alexnet and bvlc_reference_caffenet have equal shapes; their files list their layers, whose order
tells them apart, and --architecture overrules it.
`tfalexnet convert` is the same.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

"""Convert a .mat file of MatConvNet, such as imagenet-caffe-alex.mat or imagenet-vgg-f.mat, to Keras weights.

    pip install scipy
    python converters/matconvnet_to_keras.py imagenet-caffe-alex.mat

Neither MATLAB nor MatConvNet is required. Network, classes and mean come from the file. The same as
`tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

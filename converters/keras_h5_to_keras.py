"""Convert an .h5 file of Keras 1 or 2, a model or its weights, to weights of Keras 3.

    python converters/keras_h5_to_keras.py model.h5

A model is read if it is a plain chain of layers; one with a Lambda layer is refused, and no code of the file is run.
Weights alone need --architecture if several networks have their shapes. The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

"""Convert a checkpoint of TensorFlow 1 or 2 (NAME.index and NAME.data-*, or the single file before 0.12).

    python converters/tensorflow_to_keras.py model.ckpt-100

TensorFlow's names are matched with those of the network, else shapes and order. The variables of the optimizer are left
out, and a note counts them. The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

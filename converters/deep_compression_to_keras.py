"""Convert AlexNet_compressed.net of Deep Compression (9 MB) to Keras weights.

    python converters/deep_compression_to_keras.py AlexNet_compressed.net

The architecture is bvlc_alexnet, at the same accuracy. The output has the full size of 244 MB.
The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

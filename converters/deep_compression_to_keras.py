"""Convert AlexNet_compressed.net of Deep Compression, 9 MB, for Keras.

    python converters/deep_compression_to_keras.py AlexNet_compressed.net

The same network as bvlc_alexnet at the same accuracy; what is written has its full 244 MB again.
`tfalexnet convert` is the same.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

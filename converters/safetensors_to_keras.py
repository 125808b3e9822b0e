"""Convert a .safetensors file for Keras.

    python converters/safetensors_to_keras.py model.safetensors

A PyTorch state dict, with torchvision's names or with conv1.weight, conv1.bias …
`tfalexnet convert` is the same.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

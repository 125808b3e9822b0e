"""Convert a .safetensors file to Keras weights.

    python converters/safetensors_to_keras.py model.safetensors

The file is a PyTorch state dict with torchvision's names, or with conv1.weight, conv1.bias …
The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

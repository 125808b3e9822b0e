"""Convert a PyTorch state dict (.pth), such as torchvision's, to Keras weights.

    python converters/torch_to_keras.py alexnet-owt-7be5be79.pth

PyTorch is not required, and no code in the pickle is executed. Both file layouts are read, that of torch
before 1.6 and that of 1.6 and later. A pickled module is rejected: save model.state_dict() instead.
The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

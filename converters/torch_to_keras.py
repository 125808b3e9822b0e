"""Convert a PyTorch state dict (.pth), such as torchvision's, for Keras.

    python converters/torch_to_keras.py alexnet-owt-7be5be79.pth

No PyTorch is needed and nothing that the pickle says is run. Files of torch before and after 1.6 are
read. A whole pickled module is refused: save model.state_dict().
`tfalexnet convert` is the same.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()

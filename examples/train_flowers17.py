"""Train tflearn_flowers17 on 17 kinds of flowers with the momentum of its source and a tenth of its epochs.

    python examples/train_flowers17.py flowers17 --output runs/flowers17

An epoch takes fifteen seconds on two cores. 34.7 % test error after 100 epochs: RESULTS.md.
"""

import sys

from tfalexnet.cli.main import main

DEFAULTS = ("--architecture", "tflearn_flowers17", "--epochs", "100", "--precision", "mixed_bfloat16")

if __name__ == "__main__":
    sys.argv[1:] = ["train", *DEFAULTS, *sys.argv[1:]]
    main()

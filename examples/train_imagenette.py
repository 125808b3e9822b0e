"""bvlc_alexnet or krizhevsky2012 from scratch on ten classes of ImageNet, by the paper's recipe.

    python examples/train_imagenette.py imagenette --output runs/imagenette --architecture bvlc_alexnet

One to two minutes an epoch on two cores; bvlc_alexnet has 47.9 % test error after 30: RESULTS.md.
"""

import sys

from tfalexnet.__main__ import main

DEFAULTS = ("--recipe", "paper", "--batch-size", "32", "--precision", "mixed_bfloat16")

if __name__ == "__main__":
    sys.argv[1:] = ["train", *DEFAULTS, *sys.argv[1:]]
    main()

r"""Train bvlc_alexnet or krizhevsky2012 from scratch on ten classes of ImageNet with the paper's recipe.

    python examples/train_imagenette.py imagenette --output runs/bvlc --architecture bvlc_alexnet --epochs 30
    python examples/train_imagenette.py imagenette --output runs/krizhevsky --architecture krizhevsky2012 \
        --devices /CPU:0,/CPU:1 --learning-rate 0.003 --epochs 30

An epoch takes one and two minutes on two cores. 47.9 and 32.4 % test error: RESULTS.md.
"""

import sys

from tfalexnet.cli.main import main

DEFAULTS = ("--recipe", "paper", "--batch-size", "32", "--precision", "mixed_bfloat16")

if __name__ == "__main__":
    sys.argv[1:] = ["train", *DEFAULTS, *sys.argv[1:]]
    main()

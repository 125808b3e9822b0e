"""Train single_tower or single_tower_avgpool on cats and dogs with the settings of its source.

    python examples/train_cats_dogs.py catsdogs --output runs/cats_dogs --architecture single_tower

An epoch takes fifteen seconds on two cores. Both stay at 50 % error with these settings. With
--learning-rate 1e-4 --epochs 30, single_tower reaches 24–29 %. RESULTS.md has the settings for
single_tower_avgpool.
"""

import sys

from tfalexnet.cli.main import main

DEFAULTS = ("--precision", "mixed_bfloat16")

if __name__ == "__main__":
    sys.argv[1:] = ["train", *DEFAULTS, *sys.argv[1:]]
    main()

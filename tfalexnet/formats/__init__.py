"""Foreign checkpoints in and out, a file per format; one canonical form between.

Canonical form: `{layer: (kernel, bias)}` in the order of the network, float32, kernels as
(height, width, in / groups, out) or (in, out), fc6 reading height, width, channel.
"""

from __future__ import annotations

import numpy as np

Parameters = dict[str, tuple[np.ndarray, np.ndarray]]


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or is not what it should be."""

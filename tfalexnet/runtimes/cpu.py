"""The processors this process may use, and the precision they compute fastest in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal, get_args

Precision = Literal["float32", "bfloat16", "auto"]
"""What products are computed in; "auto" is bfloat16 on processors that have such products, else float32."""

PRECISIONS = get_args(Precision)
FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # Flags of /proc/cpuinfo.


def resolve_precision(precision: Precision) -> Literal["float32", "bfloat16"]:
    """The precision itself; of "auto" what is the faster one here.

    Raises:
        ValueError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Expected `precision` to be one of {', '.join(PRECISIONS)}. Received: {precision!r}")
    if precision != "auto":
        return precision
    try:
        words = Path("/proc/cpuinfo").read_text("ascii", "replace").split()
    except OSError:  # Not Linux.
        return "float32"
    return "float32" if FAST_BFLOAT16.isdisjoint(words) else "bfloat16"


def _threads() -> int:
    """As many as TensorFlow was told to take, else as cores that this process may use."""
    tf = sys.modules.get("tensorflow")  # A network for LiteRT does without.
    told = tf.config.threading.get_intra_op_parallelism_threads() if tf else 0
    return told or available_cores()


def available_cores() -> int:
    """How many of them: a container or `taskset` may allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

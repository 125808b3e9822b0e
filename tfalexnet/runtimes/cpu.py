"""The processor: the cores that this process may use, and the precision that is fastest on them."""

import os
import sys
from pathlib import Path
from typing import Literal, get_args

Precision = Literal["float32", "bfloat16", "int8", "auto"]
"""Precision of the products. "auto" is bfloat16 on processors with bfloat16 products, else float32; "int8" computes
the rest as "auto"."""

PRECISIONS = get_args(Precision)
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}  # Flags in /proc/cpuinfo.


def resolve_precision(precision: Precision) -> Literal["float32", "bfloat16"]:
    """Return the precision of floating-point products, for "auto" and "int8" the one that is faster on this processor.

    Raises:
        ValueError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Expected `precision` to be one of {', '.join(PRECISIONS)}. Received: {precision!r}")
    if precision not in ("auto", "int8"):
        return precision
    try:
        flags = Path("/proc/cpuinfo").read_text("ascii", "replace").split()
    except OSError:  # Not Linux.
        return "float32"
    return "float32" if BFLOAT16_FLAGS.isdisjoint(flags) else "bfloat16"


def available_cores() -> int:
    """Return the number of cores that this process may use; a container or `taskset` may allow a part of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def preparing_threads() -> int:
    """Return the number of threads that prepare pictures: TensorFlow's setting if there is one, else all cores."""
    tf = sys.modules.get("tensorflow")  # Not imported for this: other engines do not need it.
    setting = tf.config.threading.get_intra_op_parallelism_threads() if tf else 0
    return setting or available_cores()

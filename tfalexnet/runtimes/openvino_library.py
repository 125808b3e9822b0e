"""The library OpenVINO: its import without needless parts, and its one Core."""

import functools
import sys
from importlib import import_module
from typing import Any

CONVERTER = "openvino.tools.ovc"


def import_openvino() -> Any:
    """Import OpenVINO without its converter of models: it takes longer than the rest, and reports to the vendor."""
    absent = sys.modules.setdefault(CONVERTER, None) is None
    try:
        import openvino
    finally:
        if absent:
            sys.modules.pop(CONVERTER, None)  # Another thread may have done so.
    if not hasattr(openvino, "convert_model"):
        openvino.convert_model = _convert_model  # For code of others in this process.
    return openvino


def _convert_model(*arguments: Any, **options: Any) -> Any:
    """`openvino.convert_model`, imported when it is called."""
    return import_module(CONVERTER).convert_model(*arguments, **options)


@functools.cache
def process_core() -> Any:
    """Return the one Core of the process, which is never deleted.

    On processors with AMX a Core installs an alternative signal stack in the thread that creates it, and unmaps that
    stack when it is deleted. After a deletion in another thread, the next signal in the first thread (Ctrl-C) is a
    segmentation fault.
    """
    return import_openvino().Core()

"""Build and cache the Keras model of weights, for gradients and for inputs of other sizes."""

import dataclasses
import functools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.hub.cache import Weights, find_weights

if TYPE_CHECKING:
    import keras

_LOADING = threading.Lock()


def load_model(weights: Weights | None = None, **options: Any) -> tuple["keras.Model", ModelSpec]:
    """Return the model of weights, and their table, preprocessing and classes.

    The last two models stay in memory while their files are unchanged.

    Args:
        weights: as for `tfalexnet.predict`; not a network that was exported for another runtime.
        **options: `include_top` and `classifier_activation` of `tfalexnet.AlexNet`.

    Raises:
        CheckpointError: the file cannot be read, lacks layers, or its preprocessing is unknown.
        WeightsNotFoundError: see `tfalexnet.AlexNet`.
    """
    path = find_weights(weights)
    state = path.stat()
    with _LOADING:  # Threads that need the same model wait for the first.
        return _load(path.absolute(), tuple(options.items()), state.st_mtime_ns, state.st_size, state.st_ino)


@functools.lru_cache(maxsize=2)
def _load(path: Path, options: tuple[tuple[str, Any], ...], *_: int) -> tuple["keras.Model", ModelSpec]:
    from tfalexnet.alexnet import model_of_checkpoint

    checkpoint = read_checkpoint(path)
    spec = checkpoint.spec
    spec.require_preprocessing(path)
    if checkpoint.missing:
        raise CheckpointError(f"{path}: expected all layers. Missing: {', '.join(checkpoint.missing)}")
    # All kernels are replaced; drawing random ones would take as long as reading the file.
    zeros = dataclasses.replace(spec, architecture=spec.architecture.with_zero_kernels())
    model = model_of_checkpoint(
        dataclasses.replace(checkpoint, spec=zeros), os.fspath(path), None, None, **dict(options)
    )
    return model, spec

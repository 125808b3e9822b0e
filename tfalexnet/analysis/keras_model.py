"""The Keras model of weights, for answers that need gradients or other sizes of pictures."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.hub.cache import Weights, find_weights

if TYPE_CHECKING:
    import keras


def load_model(weights: Weights | None = None, **options: Any) -> tuple["keras.Model", ModelSpec]:
    """Return the model of weights, and their table, preprocessing and classes.

    The last model stays in memory while its file is unchanged.

    Args:
        weights: as for `tfalexnet.predict`; not a network that was exported for another runtime.
        **options: `include_top` and `classifier_activation` of `tfalexnet.AlexNet`.

    Raises:
        CheckpointError: the file cannot be read, lacks layers, or its preprocessing is unknown.
        WeightsNotFoundError: see `tfalexnet.AlexNet`.
    """
    path = find_weights(weights)
    state = path.stat()
    return _load(path.absolute(), tuple(options.items()), state.st_mtime_ns, state.st_size, state.st_ino)


@functools.lru_cache(maxsize=1)
def _load(path: Path, options: tuple[tuple[str, Any], ...], *_: int) -> tuple["keras.Model", ModelSpec]:
    from tfalexnet.alexnet import model_of_checkpoint

    checkpoint = read_checkpoint(path)
    spec = checkpoint.spec
    if spec.preprocessing is None:
        raise CheckpointError(
            f"{path}: expected to know the preprocessing of {spec.architecture.name}; the file does not state it. "
            "`tfalexnet convert` with --channels, --mean and --size adds it."
        )
    if checkpoint.missing:
        raise CheckpointError(f"{path}: expected all layers. Missing: {', '.join(checkpoint.missing)}")
    # All kernels are replaced; drawing random ones would take as long as reading the file.
    zeros = dataclasses.replace(spec, architecture=spec.architecture.with_zero_kernels())
    model = model_of_checkpoint(
        dataclasses.replace(checkpoint, spec=zeros), os.fspath(path), None, None, **dict(options)
    )
    return model, spec

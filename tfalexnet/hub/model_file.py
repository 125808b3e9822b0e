"""A file of weights for a Keras model in memory, so that whatever reads weights takes the model too."""

import json
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfalexnet.checkpoints.formats import SPEC, Contents, keras_config, keras_h5
from tfalexnet.checkpoints.spec import ModelSpec

if TYPE_CHECKING:
    import keras

_specs: "weakref.WeakKeyDictionary[keras.Model, ModelSpec]" = weakref.WeakKeyDictionary()
_folders: "weakref.WeakKeyDictionary[keras.Model, str]" = weakref.WeakKeyDictionary()


def remember_spec(model: "keras.Model", spec: ModelSpec) -> None:
    """Keep table, preprocessing and classes of a model, which Keras does not store, while the model exists."""
    _specs[model] = spec


def save_model_file(model: "keras.Model") -> Path:
    """Write the present weights of a model to a temporary `.weights.h5`, which is deleted with the model.

    The spec is that of `AlexNet`, with the preprocessing and the classes of its weights. A model that Keras loaded or
    cloned has that of its layers, with the defaults of `read_checkpoint`.

    Raises:
        CheckpointError: the model has layers that `AlexNet` does not build.
        OSError: the file cannot be written.
    """
    from tfalexnet.networks.build import get_parameters

    spec = _specs.get(model)
    fields = spec.to_json() if spec else keras_config.spec(json.loads(model.to_json()))[0]
    if model not in _folders:
        _folders[model] = tempfile.mkdtemp(prefix="tfalexnet-")
        weakref.finalize(model, shutil.rmtree, _folders[model], ignore_errors=True)
    path = Path(_folders[model], f"{model.name}.weights.h5")
    encoded = np.frombuffer(json.dumps(fields).encode(), np.uint8)
    attributes = {} if fields["architecture"] is None else {"architecture": fields["architecture"]}
    keras_h5.write(path, Contents(get_parameters(model), attributes, {SPEC: encoded}))
    return path

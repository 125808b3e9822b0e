"""The weights after 1, 10 and 30 steps of training equal those of Caffe 1.0's solver; known mistakes do not.

The truth (caffe/truth/ of the test data): Caffe trained slim versions of both networks on a batch of two, without
dropout, from the weights of the .caffemodel: momentum .9, weight decay 5e-4, biases at twice the rate and without
decay, learning rate 5e-5, a tenth of it from step 20 on. Weights move by 1e-6 to 1e-3 of their size in ten steps,
so differences are compared with the movement and not with the weights.

A maximum of two equal values, or a ReLU at 0, sends its gradient to one side or the other as rounding decides, and
from there the weights part: by .05 to .7 of the movement, in a third of the runs whose input has other last bits, for
bvlc_caffenet as early as within ten steps. Therefore a run may be repeated with other last bits of the input; one of
the runs must equal Caffe's in all steps. A solver with one of the mistakes below is off in every run.
"""

import dataclasses

import keras
import numpy as np
import pytest
from support.caffe_truth import NETWORKS, load_slim, read_arrays, slim

from tfalexnet.networks.build import get_parameters, set_parameters
from tfalexnet.training import CAFFE, Momentum

pytestmark = pytest.mark.data

# Root mean square of the difference to Caffe's weights, divided by that of their movement, by step.
# Measured: 3e-5, 1e-5 to 1e-4 and 5e-6 to 2e-4. In the first step many weights move by few of their last bits.
BOUNDS = {1: 1e-4, 10: 1e-4, 30: 5e-4}
WEIGHT_BOUND = 1e-6  # Of the largest weight of a layer, after 1 and 10 steps. Measured: 3e-7.
RUNS = 8

RATE = 5e-5
RECIPE = dataclasses.replace(CAFFE, learning_rate=RATE)


@pytest.fixture(scope="module")
def inputs(data) -> np.ndarray:
    """The batch of two, (N, C, H, W)."""
    blobs = {name: read_arrays(data / "caffe" / "truth" / f"{name}_blobs.npz")["data"] for name in NETWORKS}
    np.testing.assert_array_equal(*blobs.values())
    return blobs["bvlc_alexnet"]


def caffe_parameters(data, name: str) -> dict[int, dict]:
    """Return the weights that Caffe reached, by step, in this package's order of axes."""
    arrays = read_arrays(data / "caffe" / "truth" / f"{name}_solver.npz")
    height, width, channels = slim(name).flattened
    steps = {}
    for step in BOUNDS:
        steps[step] = {}
        for row in slim(name).weighted:
            kernel = arrays[f"{row.name}.{step}.kernel"]
            kernel = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
            if row.name == "fc6":
                kernel = kernel.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(kernel.shape)
            steps[step][row.name] = kernel, arrays[f"{row.name}.{step}.bias"]
    return steps


def train(model: keras.Model, x: np.ndarray, steps: int, rate_drop: float = 0.1) -> dict[int, dict]:
    """Return the weights after the steps in `BOUNDS`; `x` is (N, C, H, W)."""
    weights = {}
    for step in range(steps):
        batch = np.roll(x, step, axis=3) if step % 2 else x
        model.optimizer.learning_rate = RATE * rate_drop ** (step // 20)
        model.train_on_batch(batch.transpose(0, 2, 3, 1), (np.array([1, 3]) + step) % 10)
        if step + 1 in BOUNDS:
            weights[step + 1] = get_parameters(model)
    return weights


def deviations(ours: dict, theirs: dict, start: dict) -> dict[str, float]:
    """Return the distance to Caffe's weights in units of their movement, by array."""
    found = {}
    for layer, pair in theirs.items():
        for kind, our, their, before in zip(("kernel", "bias"), ours[layer], pair, start[layer], strict=True):
            moved = np.linalg.norm(their.astype("f8") - before)
            found[f"{layer} {kind}"] = float(np.linalg.norm(our.astype("f8") - their) / moved)
    return found


def runs(model: keras.Model, x: np.ndarray):
    """Yield the input and, in further runs, inputs of other last bits; the model starts anew each time."""
    start = get_parameters(model)
    generator = np.random.default_rng(0)
    for run in range(RUNS):
        set_parameters(model, start)
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        noise = 1 + 1e-7 * generator.standard_normal(x.shape)
        yield (x * noise).astype(np.float32) if run else x


@pytest.mark.parametrize("name", NETWORKS)
def test_training_reaches_the_weights_of_caffe(name, data, inputs):
    theirs = caffe_parameters(data, name)
    model = load_slim(data, name, dropout=0.0)
    start = get_parameters(model)
    RECIPE.compile(model)
    history = []
    for x in runs(model, inputs):
        ours = train(model, x, 30)
        worst = {step: max(deviations(ours[step], theirs[step], start).values()) for step in BOUNDS}
        history.append(worst)
        assert worst[1] <= BOUNDS[1], history  # One step knows no ties.
        if all(worst[step] <= BOUNDS[step] for step in BOUNDS):
            break
    else:
        pytest.fail(f"No run stays within {BOUNDS}: {history}")
    for step in (1, 10):
        for layer, pair in theirs[step].items():
            for our, their in zip(ours[step][layer], pair, strict=True):
                assert np.abs(our - their).max() <= WEIGHT_BOUND * np.abs(their).max(), (step, layer)


def compile_decoupled(model: keras.Model) -> None:
    """Decay as Keras' optimizers apply it: outside the gradient, and so outside the momentum."""
    dataclasses.replace(RECIPE, decay=0.0).compile(model)
    optimizer = Momentum(RATE, RECIPE.momentum, bias_rate=RECIPE.bias_rate, weight_decay=RECIPE.decay)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, model.loss)


def compile_with_decay_on_biases(model: keras.Model) -> None:
    for variable in model.trainable_variables:
        variable.regularizer = keras.regularizers.L2(RECIPE.decay / 2)
    optimizer = Momentum(RATE, RECIPE.momentum, bias_rate=RECIPE.bias_rate)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


MUTANTS = {
    "decay outside the momentum": (compile_decoupled, 10),
    "bias rate 1": (dataclasses.replace(RECIPE, bias_rate=1.0).compile, 1),
    "decay on biases": (compile_with_decay_on_biases, 1),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_solver_with_a_known_mistake_is_far_off(mutant, data, inputs):
    """On bvlc_alexnet, where no tie was seen to part the weights within ten steps."""
    compile_mutant, step = MUTANTS[mutant]
    theirs = caffe_parameters(data, "bvlc_alexnet")
    model = load_slim(data, "bvlc_alexnet", dropout=0.0)
    start = get_parameters(model)
    compile_mutant(model)
    ours = train(model, inputs, step)
    worst = deviations(ours[step], theirs[step], start)
    assert max(worst.values()) > 10 * BOUNDS[step], worst


def test_a_rate_that_does_not_fall_is_far_off(data, inputs):
    theirs = caffe_parameters(data, "bvlc_alexnet")
    model = load_slim(data, "bvlc_alexnet", dropout=0.0)
    start = get_parameters(model)
    RECIPE.compile(model)
    ours = train(model, inputs, 30, rate_drop=1.0)
    assert max(deviations(ours[30], theirs[30], start).values()) > 100 * BOUNDS[30]

"""Repeat figure 1 of the paper: epochs to 25 % training error on CIFAR-10 with ReLU and with tanh.

    python examples/figure1.py cifar10 --output runs/figure1

The same network of three convolutions and a classifier (`cifar10_18pct`) is trained with ReLU and with tanh,
without any regularisation: no decay, no dropout, no augmentation; momentum .9, batch 128, each learning rate
of a list. The best rate of each network counts. Complete runs are not repeated, so that the command can be
interrupted and resumed. Runs with other --epochs or another --seed have their own logs.

It takes half an hour on two cores. ReLU took 6.1 epochs and tanh 10.1, which is 1.7 times as many; the paper
reports six times: RESULTS.md.
"""

import csv
import dataclasses
from pathlib import Path

import keras
import numpy as np
from absl import app, flags

from tfalexnet import data
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.build import build_model
from tfalexnet.networks.catalog import CIFAR10_18PCT
from tfalexnet.networks.spec import Activation, Architecture, Norm

FLAGS = flags.FLAGS
flags.DEFINE_string("output", "runs/figure1", "The folder for the curves.")
flags.DEFINE_list("rates", ["0.003", "0.01", "0.03", "0.1"], "Learning rates.")
flags.DEFINE_integer("epochs", 60, "Largest number of passes through the pictures.", lower_bound=1)
flags.DEFINE_integer("seed", 2012, "Seed of initial weights and order.")
flags.register_validator("rates", lambda rates: all(map(_positive, rates)), "Expected positive numbers.")

TARGET = 0.25  # Training error of the paper's comparison.
# The mean of CIFAR-10's training pictures in each channel is subtracted.
PREPARED = Preprocessing("squash", 32, 32, antialias=True, channels="RGB", mean=(125.3, 123.0, 113.9))
UNIT = 64  # Pictures are divided by it, so that one range of learning rates suits every layer.


def table(activation: str) -> Architecture:
    """Return the network with another nonlinearity, and Glorot's initial weights, which suit both."""
    net = CIFAR10_18PCT
    changed = {}
    for row in net.layers:
        if isinstance(row, Activation):
            changed[row.name] = dataclasses.replace(row, function=activation)
        elif isinstance(row, Norm):
            changed[row.name] = dataclasses.replace(row, alpha=row.alpha * UNIT**2)
        elif row in net.weighted:
            function = activation if row.activation else None
            changed[row.name] = dataclasses.replace(row, activation=function, kernel_init="glorot_uniform")
    return net.replace_layers(**changed)


class UntilTarget(keras.callbacks.Callback):
    """Stops at the target, or when the loss is not finite."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        error = 1 - logs["accuracy"]
        self.model.stop_training = error <= TARGET or not np.isfinite(logs["loss"])


def run(activation: str, rate: float, pictures: np.ndarray, labels: np.ndarray, log: Path) -> None:
    keras.utils.set_random_seed(FLAGS.seed)
    model = build_model(table(activation), classifier_activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss, metrics=["accuracy"])
    part = log.with_suffix(".part")
    callbacks = [keras.callbacks.CSVLogger(str(part)), UntilTarget()]
    model.fit(pictures, labels, batch_size=128, epochs=FLAGS.epochs, callbacks=callbacks, verbose=2)
    part.rename(log)


def _positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def log_of(activation: str, rate: str) -> Path:
    """Return the file of a curve; its name holds all settings that are not the default."""
    settings = {name: FLAGS[name] for name in ("epochs", "seed")}
    changed = "".join(f"_{name}{flag.value}" for name, flag in settings.items() if flag.value != flag.default)
    return Path(FLAGS.output) / f"{activation}_{float(rate):g}{changed}.csv"


def errors(log: Path) -> list[float]:
    """Return the training error by epoch, 0–1."""
    with log.open() as file:
        return [1 - float(row["accuracy"]) for row in csv.DictReader(file)]


def epochs_to_target(curve: list[float]) -> float:
    """Return the number of epochs to the target, interpolated linearly; infinite if it is not reached."""
    for epoch, error in enumerate(curve):
        if error <= TARGET:
            before = curve[epoch - 1] if epoch else 0.9
            return epoch + (before - TARGET) / (before - error)
    return float("inf")


def verdict(relu: float, tanh: float) -> str:
    """Return the comparison of two numbers of epochs; infinity means that the target was not reached."""
    if np.isinf(relu):
        return f"ReLU does not reach {TARGET:.0%} in {FLAGS.epochs} epochs: nothing to compare with"
    if np.isinf(tanh):
        return f"tanh needs more than {FLAGS.epochs / relu:.1f} times as many epochs as ReLU; the paper says six"
    return f"tanh needs {tanh / relu:.1f} times as many epochs as ReLU; the paper says six"


def plot(curves: dict[tuple[str, str], list[float]], best: dict[str, tuple[str, str]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for (activation, rate), curve in curves.items():
        chosen = best[activation] == (activation, rate)
        style = {"color": "C0" if activation == "relu" else "C1", "linestyle": "-" if activation == "relu" else "--"}
        label = f"{activation}, learning rate {rate}" if chosen else None
        epochs = range(1, len(curve) + 1)
        axes.plot(epochs, curve, linewidth=2 if chosen else 0.8, alpha=1 if chosen else 0.4, label=label, **style)
    axes.axhline(TARGET, color="grey", linestyle=":", label="25 %")
    axes.set(xlabel="epoch", ylabel="training error", ylim=(0.15, 0.9), title="ReLU against tanh on CIFAR-10")
    axes.legend()
    figure.savefig(path, dpi=100)


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("expected one argument, the folder with train/")
    output = Path(FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    curves = {}
    pictures = None
    for activation in ("relu", "tanh"):
        for rate in FLAGS.rates:
            log = log_of(activation, rate)
            if not log.exists():
                if pictures is None:
                    training, _ = data.read(Path(argv[1]))
                    pictures = np.stack([PREPARED(picture) for picture in training.pictures]) / UNIT
                run(activation, float(rate), pictures, training.labels, log)
            curves[activation, rate] = errors(log)
            after = epochs_to_target(curves[activation, rate])
            when = f"after {after:.1f} epochs" if np.isfinite(after) else f"not in {FLAGS.epochs} epochs"
            print(f"{activation:<5} learning rate {rate:<6} {TARGET:.0%} {when}")
    best = {
        kind: min((k for k in curves if k[0] == kind), key=lambda k: (epochs_to_target(curves[k]), min(curves[k])))
        for kind in ("relu", "tanh")
    }
    print(verdict(*(epochs_to_target(curves[best[kind]]) for kind in ("relu", "tanh"))))
    plot(curves, best, output / "figure1.png")


if __name__ == "__main__":
    app.run(main)

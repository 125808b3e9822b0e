"""Training over several devices and machines: shares of each batch, and what all workers agree on."""

import functools
import json
import os
import random
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfalexnet.training.options import STRATEGIES

JOBS = ("chief", "worker")  # The jobs of a cluster that train.
DELAY = 3.0  # Seconds until a file of one worker is visible to the others.


def get_strategy(name: str | None) -> tf.distribute.Strategy | None:
    """Return a strategy by name, None for None.

    Args:
        name: of `STRATEGIES`; "mirrored" splits a batch between the GPUs of this machine, "multi-worker" between the
            machines of TF_CONFIG.

    Raises:
        ValueError: TF_CONFIG names no machines.
    """
    if name is None:
        return None
    if name == "multi-worker":
        _check_cluster(os.environ.get("TF_CONFIG", ""))
    kinds = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)
    strategy = kinds[STRATEGIES.index(name)]()
    if strategy.num_replicas_in_sync == 1:
        warnings.warn(f"--strategy {name} has one device to train on, and changes nothing.", stacklevel=2)
    return strategy


def _check_cluster(config: str) -> None:
    """Raise `ValueError` without a cluster: TensorFlow would let each machine train separately, without a warning."""
    try:
        fields = json.loads(config or "{}")
        valid = bool(set(JOBS) & set(fields["cluster"])) and {"type", "index"} <= set(fields["task"])
    except (KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            'Expected TF_CONFIG in the environment of each machine, such as {"cluster": {"worker": ["one:12345", '
            '"two:12345"]}, "task": {"type": "worker", "index": 0}}, with an index of its own. Received: '
            f"{config or 'none'}"
        )


def worker_count(strategy: tf.distribute.Strategy) -> int:
    """Return the number of processes that train the model."""
    resolver = strategy.cluster_resolver
    spec = resolver.cluster_spec() if resolver is not None else None
    return max(1, sum(spec.num_tasks(job) for job in spec.jobs if job in JOBS)) if spec else 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process writes the files: the cluster's chief, or its first worker if it has no chief."""
    return strategy.extended.should_checkpoint


def sum_over_workers(strategy: tf.distribute.Strategy, number: float) -> float:
    """Return the sum of every worker's number, in float32. All workers must call it at the same point; it waits."""
    workers = worker_count(strategy)
    if workers == 1:
        return number
    replicas = strategy.run(lambda: tf.constant(number, tf.float32))
    total = strategy.reduce(tf.distribute.ReduceOp.SUM, replicas, axis=None)
    return float(total) / (strategy.num_replicas_in_sync // workers)  # Each replica added its worker's number.


def folder_is_shared(strategy: tf.distribute.Strategy, folder: Path) -> bool:
    """Return whether the folder is the same for all workers: they see a file that the chief creates.

    Call it before anything else looks for the folder: a network file system may cache that a name was absent. The
    file's name is random, so that no answer for it is cached.
    """
    if worker_count(strategy) == 1:
        return True
    chief = is_chief(strategy)
    number = sum_over_workers(strategy, random.SystemRandom().randrange(1 << 20) if chief else 0)
    token = folder / f".{number:.0f}.part"
    if chief:
        folder.mkdir(parents=True, exist_ok=True)
        token.touch()
    sum_over_workers(strategy, 0)  # From here on it exists.
    end = time.monotonic() + DELAY
    while not (visible := token.exists()) and time.monotonic() < end:
        time.sleep(0.1)
    missing = sum_over_workers(strategy, not visible)
    if chief:
        token.unlink()
    return missing == 0


def distribute_batches(strategy: tf.distribute.Strategy, pipeline: Callable[..., tf.data.Dataset]) -> Any:
    """Return the batches of `pipeline(shard=(worker, workers), replicas=…)`, each replica's piece on its device."""
    if strategy.num_replicas_in_sync == 1:
        return pipeline()

    def shard(context: tf.distribute.InputContext) -> tf.data.Dataset:
        workers = context.num_input_pipelines
        return pipeline(shard=(context.input_pipeline_id, workers), replicas=strategy.num_replicas_in_sync // workers)

    return strategy.distribute_datasets_from_function(shard)


def next_position(strategy: tf.distribute.Strategy, positions: Any, batch: int) -> int:
    """Return the position in the epoch after a batch, whose last pictures another worker may have."""
    last = max(int(part.numpy().max()) for part in strategy.experimental_local_results(positions))
    return last + 1 if strategy.num_replicas_in_sync == 1 else (last // batch + 1) * batch


def independent_dropout(model: keras.Model) -> None:
    """Let each replica draw its own dropout mask; Keras draws the same one on all replicas.

    The number of the replica is folded into each seed. The states of Keras' generators stay equal on all replicas,
    so that a checkpoint needs only one of them.
    """

    def next_seed(draw: Callable[..., tf.Tensor], ordered: bool = True) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.random.experimental.stateless_fold_in(draw(ordered), replica)

    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.next = functools.partial(next_seed, generator.next)

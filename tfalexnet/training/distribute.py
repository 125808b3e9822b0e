"""A training over several devices and machines: who has which part, and what all of them agree on."""

from __future__ import annotations

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

JOBS = ("chief", "worker")  # Of a cluster, those that learn.
DELAY = 3.0  # Seconds in which a file of one worker appears to the others.


def get_strategy(name: str | None) -> tf.distribute.Strategy | None:
    """By name: "mirrored" spreads a batch over the GPUs of this machine, "multi-worker" over those of TF_CONFIG.

    Raises:
        ValueError: TF_CONFIG names no machines.
    """
    if name == "multi-worker":
        _check_cluster(os.environ.get("TF_CONFIG", ""))
    kinds = {
        None: lambda: None,
        "mirrored": tf.distribute.MirroredStrategy,
        "multi-worker": tf.distribute.MultiWorkerMirroredStrategy,
    }
    strategy = kinds[name]()
    if strategy is not None and strategy.num_replicas_in_sync == 1:
        warnings.warn(f"--strategy {name} finds one device to learn on, and changes nothing.", stacklevel=2)
    return strategy


def _check_cluster(config: str) -> None:
    """Without a cluster TensorFlow lets each machine learn alone, without a word."""
    try:
        said = json.loads(config or "{}")
        whole = bool(set(JOBS) & set(said["cluster"])) and {"type", "index"} <= set(said["task"])
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(
            'Expected TF_CONFIG in the environment of each machine, such as {"cluster": {"worker": ["one:12345", '
            '"two:12345"]}, "task": {"type": "worker", "index": 0}}, with an index of its own. Received: '
            f"{config or 'none'}"
        )


def worker_count(strategy: tf.distribute.Strategy) -> int:
    """How many processes learn together."""
    resolver = strategy.cluster_resolver
    spec = resolver.cluster_spec() if resolver is not None else None
    return max(1, sum(spec.num_tasks(job) for job in spec.jobs if job in JOBS)) if spec else 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes: the cluster's chief, or its first worker where there is none."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def sum_over_workers(strategy: tf.distribute.Strategy, number: float) -> float:
    """The sum of every worker's number, in float32. All must ask at the same point, and wait for each other."""
    if worker_count(strategy) == 1:
        return number
    each = strategy.run(lambda: tf.constant(number, tf.float32))
    own = strategy.num_replicas_in_sync // worker_count(strategy)  # Each replica brings its worker's number.
    return float(strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)) / own


def folder_is_shared(strategy: tf.distribute.Strategy, folder: Path) -> bool:
    """Whether the folder is one for all workers: what the chief puts there, the others find.

    To be asked before anything else looks for the folder: a network's file system may remember for a
    while that something was not there, and so may not for a name that is new.
    """
    if worker_count(strategy) == 1:
        return True
    chief = is_chief(strategy)
    number = sum_over_workers(strategy, random.SystemRandom().randrange(1 << 20) if chief else 0)
    token = folder / f".{number:.0f}.part"
    if chief:
        folder.mkdir(parents=True, exist_ok=True)
        token.touch()
    sum_over_workers(strategy, 0)  # It is there now.
    end = time.monotonic() + DELAY
    while not (found := token.exists()) and time.monotonic() < end:
        time.sleep(0.1)
    missing = sum_over_workers(strategy, not found)
    if chief:
        token.unlink()
    return missing == 0


def distribute_batches(strategy: tf.distribute.Strategy, pipeline: Callable[..., tf.data.Dataset]) -> Any:
    """Batches of `pipeline(shard=(worker, workers), replicas=…)`, each replica's piece on its device."""
    if strategy.num_replicas_in_sync == 1:
        return pipeline()

    def part(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = context.num_input_pipelines
        return pipeline(shard=(context.input_pipeline_id, count), replicas=strategy.num_replicas_in_sync // count)

    return strategy.distribute_datasets_from_function(part)


def next_position(strategy: tf.distribute.Strategy, places: Any, batch: int) -> int:
    """The place behind a batch, of which other workers may have the end."""
    last = max(int(part.numpy().max()) for part in strategy.experimental_local_results(places))
    return last + 1 if strategy.num_replicas_in_sync == 1 else (last // batch + 1) * batch


def independent_dropout(model: keras.Model) -> None:
    """Let each replica drop units of its own; Keras has all replicas draw the same.

    Its generators' states stay equal on all replicas, and so one of them is enough to go on from.
    """
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.next = _folded(generator.next)


def _folded(draw: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Seeds with the replica's number in them."""

    def next_seed(ordered: bool = True) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.random.experimental.stateless_fold_in(draw(ordered), replica)

    return next_seed

"""Label any number of photos on one machine or on many, with Ray Data.

    python examples/label_millions.py PHOTOS --output labels
    python examples/label_millions.py '/shared/photos/**/*.jpg' --output /shared/labels --address auto

It requires `pip install 'tfalexnet[fast,ray]'`, on a cluster in the environment of every machine. Two workers on
two cores start in fifteen seconds. PHOTOS is a folder or a quoted pattern, on a disk that all machines see
under the same path: Ray transfers only the names. (For a bucket, use `ray.data.read_binary_files(…,
include_paths=True)` in place of `names`, and give the bytes to `run_network`.) The labels are Parquet files
with the columns of `tfalexnet predict --output labels.parquet`, in no particular order.

A worker that is lost is started again, and repeats the photos whose labels it has not returned. Ray reserves
only half of the CPUs of a worker, so that the workers of a lost machine, and the task that writes, can run on
the remaining machines. A machine that does not see the photos ends the job with its name. On one reliable
machine `tfalexnet predict --output` does the same without Ray.
"""

import importlib.util
import math
import os
import platform
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.dataset
import ray
from absl import app, flags

from tfalexnet import PictureError
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.hub.cache import find_weights
from tfalexnet.inference.label import expand_sources, label_row, labels_table
from tfalexnet.inference.pipeline import run_network
from tfalexnet.inference.predict import top_predictions
from tfalexnet.runtimes.cpu import PRECISIONS
from tfalexnet.runtimes.network import load_network
from tfalexnet.runtimes.openvino_library import process_core

FLAGS = flags.FLAGS
flags.DEFINE_string("output", None, "Folder for the labels, new or empty.", required=True)
flags.DEFINE_string("weights", None, "A name of `tfalexnet list`, or a file on this machine; the workers get a copy.")
flags.DEFINE_integer("top", 5, "Number of classes.", lower_bound=1)
flags.DEFINE_enum("precision", "float32", PRECISIONS, "Precision of the products.")
flags.DEFINE_integer("workers", None, "Number of workers. [default: one for each machine]", lower_bound=1)
flags.DEFINE_string("address", None, "Address of a cluster, or auto. [default: Ray is started on this machine]")

BLOCK = 1024  # Photos per task; at most so many are repeated after a worker is lost.


class Labeller:
    """A network in a worker, called with names of photos."""

    def __init__(self, name: str, content: ray.ObjectRef, top: int, precision: str, cpus: int) -> None:
        limit_threads(cpus)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(ray.get(content))
            self.network = load_network(path, precision=precision)
        self.top = min(top, len(self.network.spec.classes))

    def __call__(self, names: pyarrow.Table) -> pyarrow.Table:
        files = [os.fsdecode(name) for name in names["file"].to_pylist()]
        if not any(map(os.path.lexists, files)):  # Else a machine without the disk would answer the most blocks.
            raise FileNotFoundError(
                f"Expected {files[0]} and {len(files) - 1} more on {platform.node()}, which has none of them. Every "
                "machine must see the photos under the same path."
            )
        return labels_table(map(self.row, files, run_network(self.network, files)), self.top)

    def row(self, file: str, answer: list | PictureError) -> dict:
        if not isinstance(answer, PictureError):
            answer = top_predictions(answer[0], self.network.spec.classes, self.top)
        return label_row(file, answer)


def limit_threads(cpus: int) -> None:
    """Let the engine that `load_network` selects use so many CPUs of this machine."""
    if importlib.util.find_spec("openvino"):
        process_core().set_property("CPU", {"INFERENCE_NUM_THREADS": cpus})
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(cpus)
        tf.config.threading.set_inter_op_parallelism_threads(cpus)


def shares(workers: int | None) -> tuple[int, int]:
    """Return the number of workers, and the CPUs that each uses."""
    machines = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    machines = [cpus for cpus in machines if cpus]
    workers = workers or len(machines)
    return workers, max(1, int(min(machines) // math.ceil(workers / len(machines))))


def label(files: list[str], path: Path, output: str) -> None:
    workers, cpus = shares(FLAGS.workers)
    size = min(BLOCK, math.ceil(len(files) / (4 * workers)))
    # As bytes: file names may be other than UTF-8, strings of Arrow may not.
    names = [
        pyarrow.table({"file": [os.fsencode(file) for file in files[start : start + size]]})
        for start in range(0, len(files), size)
    ]
    # Ray Data restarts actors and repeats their tasks without a limit.
    ray.data.from_arrow(names).map_batches(
        Labeller,
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=cpus / 2,
        fn_constructor_args=(path.name, ray.put(path.read_bytes()), FLAGS.top, FLAGS.precision, cpus),
    ).write_parquet(output, ray_remote_args={"num_cpus": cpus / 2})


def main(argv: list[str]) -> None:
    if len(argv) < 2:
        raise app.UsageError("expected photos: a folder or a pattern in quotes")
    remote = "://" in FLAGS.output
    output = FLAGS.output if remote else str(Path.cwd() / FLAGS.output)
    try:
        if not remote and Path(output).exists() and any(Path(output).iterdir()):
            raise FileExistsError(f"Expected {output} to be new or empty. Name another folder, or empty it.")
        files = expand_sources(Path.cwd() / source for source in argv[1:])
        path = find_weights(FLAGS.weights)
        read_spec(path)  # A damaged file ends the job here and not in every worker.
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    ray.init(address=FLAGS.address)
    label(files, path, output)
    labels = pyarrow.dataset.dataset(output, format="parquet")
    if labels.count_rows() != len(files):
        raise SystemExit(f"Expected {len(files)} rows in {output}. It has {labels.count_rows()}.")
    unreadable = labels.count_rows(filter=pyarrow.compute.field("error").is_valid())
    print(f"{len(files)} files, {unreadable} of them unreadable: {output}")


if __name__ == "__main__":
    app.run(main)

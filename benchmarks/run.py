"""Compare speed and memory with other implementations, in one run on one machine.

    pip install torch onnx onnxruntime openvino 'opencv-python-headless<5' ai-edge-litert
    python benchmarks/run.py

It takes about 20 minutes on two idle cores, needs 16 GB of memory and Linux, and writes the section of this processor
in benchmarks/RESULTS.md. All implementations get the same random weights of the shapes of bvlc_alexnet, and the
same pictures. Nothing is timed unless all probabilities in float32 agree to 1e-5. Each implementation has a
process with as many threads as there are cores, gets its inputs in the layout in which it is fastest, and
sleeps between its turns. In each round every implementation has one turn, in random order; a ratio is the
median of the ratios of the rounds. Implementations that are not installed are skipped and reported.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import files
import folder
import numpy as np
import processes
import report
import roofline
import speed
from absl import app, flags
from workers import CORES, Worker

from tfalexnet.images.folders import list_pictures
from tfalexnet.images.preprocessing import BVLC

FLAGS = flags.FLAGS
flags.DEFINE_string("output", str(Path(__file__).parent / "RESULTS.md"), "File whose section is written.")
flags.DEFINE_string("pictures", None, "Folder of pictures for the agreement of bfloat16 with float32.")
flags.DEFINE_integer("rounds", 20, "Rounds of each timing; a quarter of them for folders and processes.", lower_bound=1)
flags.DEFINE_integer("photos", 1024, "Number of photos in the folder that is labelled.", lower_bound=32)
flags.DEFINE_integer(
    "pause", 50, "Milliseconds before each turn, in which the threads of the previous one stop spinning."
)

MAX_PICTURES = 1024


def write_pictures(work: Path) -> int:
    """Write preprocessed pictures, real ones if there are any; return their number, a multiple of 32."""
    named = list(map(Path, list_pictures(FLAGS.pictures or work / files.PHOTOS)))
    chosen = named[:: -(-len(named) // MAX_PICTURES)]
    count = len(chosen) // 32 * 32
    if not count:
        raise app.UsageError(f"expected at least 32 pictures in {FLAGS.pictures}, received {len(named)}")
    np.save(work / files.PICTURES, np.array([BVLC(picture) for picture in chosen[:count]]))
    return count


def measured(work: Path) -> str:
    """Return all sections, as Markdown."""
    few, pause = max(1, FLAGS.rounds // 4), FLAGS.pause / 1000
    files.write_photos(work / files.PHOTOS, FLAGS.photos)
    Worker(files.write, work, Path(FLAGS.pictures or work / files.PHOTOS)).close()
    count = write_pictures(work)
    network = speed.measured(work, count, FLAGS.rounds, pause)
    roof = roofline.measured(network.ours)
    labelled, shares = folder.measured(work, FLAGS.photos, few, pause)
    figures = [
        *(*network.figures, *shares),
        *(*processes.memory(work), *processes.cold_start(work, few)),
        *(*processes.conversion(work, few), *processes.leaks(work)),
    ]
    kind = "real pictures" if FLAGS.pictures else "pictures of noise"
    return "\n\n".join(
        [
            f"`python benchmarks/run.py --rounds {FLAGS.rounds}` on {CORES} cores, Python {sys.version.split()[0]}, "
            "random weights of the shapes of bvlc_alexnet. All probabilities in float32 agree to 1e-5. × is the speed "
            "of tfalexnet as a multiple of the other one's in the same precision, the median of paired rounds.",
            report.figures_table(figures),
            f"### The network without preprocessing, {kind}",
            network.text,
            "### Lower bounds of the machine",
            roof,
            "### A folder to labels",
            labelled,
        ]
    )


def main(_: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name, "inductor"))
        text = measured(Path(name))
    report.write(Path(FLAGS.output), f"Inference on {roofline.processor()}", text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)

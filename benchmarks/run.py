"""Speed and memory beside other implementations, in one run on one machine.

    pip install torch onnx onnxruntime openvino 'opencv-python-headless<5' ai-edge-litert
    python benchmarks/run.py

Some ten minutes on two cores with nothing else running, and 16 GB of memory; writes its section of
benchmarks/RESULTS.md. All implementations get the same random weights of bvlc_alexnet's shapes and the same
pictures; unless all give the same probabilities to 1e-5 in float32, nothing is timed. Each lives in a
process of its own, with as many threads as there are cores and its inputs in the layout that it likes best,
and sleeps until it is its turn. Ratios are medians of the rounds' own, in each of which all have a turn, in
random order. What is not installed is left out, and said so. Linux.
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
flags.DEFINE_string("output", str(Path(__file__).parent / "RESULTS.md"), "The file whose section is written.")
flags.DEFINE_string("pictures", None, "A folder of pictures for the agreement of bfloat16 with float32.")
flags.DEFINE_integer("rounds", 20, "Rounds of each timing; of whole folders and processes a quarter.", lower_bound=1)
flags.DEFINE_integer("photos", 1024, "How many photos the folder has.", lower_bound=32)
flags.DEFINE_integer("pause", 50, "Milliseconds before each turn, while threads of the last one stop spinning.")

HEADING = "Inference"
MOST = 1024  # Real pictures.


def write_pictures(place: Path) -> int:
    """Preprocessed pictures, real ones if there are; how many, a multiple of 32."""
    named = list(map(Path, list_pictures(FLAGS.pictures or place / files.PHOTOS)))
    chosen = named[:: -(-len(named) // MOST)]
    count = len(chosen) // 32 * 32
    if not count:
        raise app.UsageError(f"expected at least 32 pictures in {FLAGS.pictures}, received {len(named)}")
    np.save(place / files.PICTURES, np.array([BVLC(picture) for picture in chosen[:count]]))
    return count


def measured(place: Path) -> str:
    """All sections, as Markdown."""
    few, pause = max(1, FLAGS.rounds // 4), FLAGS.pause / 1000
    Worker(files.write, place).close()
    files.write_photos(place / files.PHOTOS, FLAGS.photos)
    count = write_pictures(place)
    alone = speed.measured(place, count, FLAGS.rounds, pause)
    roof = roofline.measured(alone.ours)
    labelled, shares = folder.measured(place, FLAGS.photos, few, pause)
    figures = [
        *(*alone.figures, *shares),
        *(*processes.memory(place), *processes.cold_start(place, few)),
        *(*processes.conversion(place, few), *processes.leaks(place)),
    ]
    kind = "real pictures" if FLAGS.pictures else "pictures of noise"
    return "\n\n".join(
        [
            f"`python benchmarks/run.py --rounds {FLAGS.rounds}` on {CORES} cores, Python {sys.version.split()[0]}, "
            "random weights of bvlc_alexnet's shapes. All probabilities in float32 agree to 1e-5. × says how many "
            "times as fast tfalexnet is in the same precision, the median of paired rounds.",
            report.figures(figures),
            f"### The network alone, {kind}",
            alone.text,
            "### What the machine allows",
            roof,
            "### A folder to labels",
            labelled,
        ]
    )


def main(_: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name, "inductor"))
        text = measured(Path(name))
    report.write(Path(FLAGS.output), HEADING, text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)

"""A campaign against the promises of SECURITY.md: kills, full disks, threads, damaged files and pictures.

    python benchmarks/campaign.py [--short] [--kills 100] [--disks 10] [--predictions 1000000] [--inputs 100000]

Commands are killed and given small disks, as tests/support/kill_commands.py describes; readers of checkpoints and the
decoder of pictures read damaged files, as tests/support/fuzz_readers.py describes. Threads predict with two networks
in turn; each answer must be that of one thread, and memory must not grow. The figures replace their section of
RESULTS.md, or of the file that --results names; failures are printed, with what is needed to see them again. `--short`
takes less than two minutes; the whole campaign takes hours. The exit status is 1 if there are failures.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import report

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support import fuzz_readers, kill_commands
from support.weights import cifar_checkpoint

RESULTS = Path(__file__).with_name("RESULTS.md")
SHORT = {"kills": 1, "disks": 1, "predictions": 1000, "inputs": 50}
SHORT_COMMANDS = ("convert", "predict", "evaluate", "download")  # Those that do not import TensorFlow.
THREADS, PICTURES = 8, 16
CLOSE = 1e-5  # Largest difference of a probability.
GROWTH = 20  # Most MB that the process may grow by after a tenth of the predictions; malloc has an arena a thread.

Part = tuple[str, list[str]]  # A section of the report, and a sentence for each failure.


def interruptions(commands: Sequence[str], kills: int, disks: int) -> Part:
    """Kill commands and fill their disks."""
    with kill_commands.inputs() as folder:
        results = [kill_commands.interrupt(command, folder, kills, disks) for command in commands]
    lines = [kill_commands.HEADS, *(line for line, _ in results)]
    return "\n".join(lines), [failure for _, failures in results for failure in failures]


def damaged_files(inputs: int, failed: Path) -> Part:
    """Read damaged files, two readers at a time."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        for reader in fuzz_readers.READERS:
            fuzz_readers.make_seeds(reader, Path(name))
        runs = [pool.submit(fuzz_readers.fuzz, each, Path(name), inputs, 0, failed) for each in fuzz_readers.READERS]
        rows = [run.result() for run in runs]
    text = fuzz_readers.table([row._replace(failures=[""] * len(row.failures)) for row in rows], inputs).rstrip()
    return text, [f"{failure} ({failed})" for row in rows for failure in row.failures]


def threads(predictions: int) -> Part:
    """Predict with two networks in threads."""
    import tfalexnet
    from tfalexnet.checkpoints.checkpoint import write_checkpoint

    began = time.monotonic()
    pictures = list(np.random.default_rng(0).integers(0, 256, (PICTURES, 40, 50, 3), np.uint8))
    failures, sizes = [], []
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder, "other.weights.h5")
        write_checkpoint(other, cifar_checkpoint())
        jobs = list(itertools.product(range(PICTURES), ("cifar10", other)))

        def answers(job: tuple[int, str | Path]) -> list[tuple[int, float]]:
            number, weights = job
            return [(each.index, each.score) for each in tfalexnet.predict(pictures[number], weights=weights)]

        expected = {job: answers(job) for job in jobs}

        def check(number: int) -> None:
            job = jobs[number % len(jobs)]
            received = answers(job)
            if not np.allclose(received, expected[job], rtol=0, atol=CLOSE):
                failures.append(f"prediction {number}: expected {expected[job]}, received {received}")

        with ThreadPoolExecutor(THREADS) as pool:
            for start, end in ((0, predictions // 10), (predictions // 10, predictions)):
                list(pool.map(check, range(start, end)))
                sizes.append(fuzz_readers.process_memory("VmRSS") / 1e6)
    growth = report.Figure("growth of memory over the last nine tenths, MB", sizes[1] - sizes[0], at_most=GROWTH)
    wrong = report.Figure(f"wrong answers, of {predictions} in {THREADS} threads", len(failures), at_most=0)
    figures = [wrong, growth, report.Figure("seconds", time.monotonic() - began)]
    if growth.value > GROWTH:
        failures.append(f"{growth.name}: {growth.value:.0f}")
    return report.figures_table(figures), failures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help=f"{SHORT}, commands {', '.join(SHORT_COMMANDS)}")
    parser.add_argument("--kills", type=int, default=100, help="of each command")
    parser.add_argument("--disks", type=int, default=10, help="sizes of disks for each command")
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--inputs", type=int, default=100_000, help="damaged files for each reader")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--failed", type=Path, default=Path("runs/fuzz"), help="folder for damaged files that fail")
    given = parser.parse_args(arguments)
    if given.short:
        vars(given).update(SHORT)
    commands = SHORT_COMMANDS if given.short else tuple(kill_commands.COMMANDS)
    parts = {
        "Predictions in threads": threads(given.predictions),
        "Damaged files": damaged_files(given.inputs, given.failed),
        "Kills and full disks": interruptions(commands, given.kills, given.disks),
    }
    counts = " ".join(f"--{name} {getattr(given, name)}" for name in SHORT)
    sections = [f"### {name}\n\n{text}" for name, (text, _) in parts.items()]
    intro = f"`python benchmarks/campaign.py {counts}`"
    report.write(given.results, "Campaign", "\n\n".join([intro, *sections]))
    failures = [failure for _, found in parts.values() for failure in found]
    print(given.results.read_text("utf-8") if given.short else given.results, *failures, sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())

"""`evaluate`: run weights on labelled pictures and report the errors, resumable at any moment."""

import contextlib
import importlib
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from tfalexnet import __version__
from tfalexnet.evaluation.ground_truth import GroundTruth, label_by_folder, read_ground_truth
from tfalexnet.evaluation.numbering import Ids
from tfalexnet.evaluation.report import VIEWS, Answer, summarize_answers
from tfalexnet.hub.cache import default_weights, find_weights, identify_published
from tfalexnet.images.folders import require_folder
from tfalexnet.images.opening import MAX_PIXELS
from tfalexnet.inference.pipeline import Outputs, check_positive, run_network
from tfalexnet.inference.resume import Entry, Journal, exclusive_output, explain_write_errors, job_header
from tfalexnet.inference.timing import Timing
from tfalexnet.io.files import atomic_write, names_digest, require_absent
from tfalexnet.runtimes.cpu import Precision
from tfalexnet.runtimes.network import BATCH_SIZE, Network, load_network
from tfalexnet.runtimes.selection import AUTO


def evaluate(
    folder: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    crops: int = 1,
    batch: int = BATCH_SIZE,
    truth: str | os.PathLike | None = None,
    ids: Ids | None = None,
    output: str | os.PathLike | None = None,
    overwrite: bool = False,
    precision: Precision = "float32",
    max_pixels: int = MAX_PIXELS,
    engine: str = AUTO,
) -> dict[str, Any]:
    """Measure top-1 and top-5 error on labelled pictures.

    Of equal probabilities the class of the lower index comes first. Pictures that cannot be read are listed in the
    report and count in no error.

    Args:
        folder: of pictures; see `label_by_folder`.
        weights: as for `tfalexnet.predict`.
        crops: 1 for the centre crop; 10 for the four corners, the centre and their mirror images, whose softmax is
            averaged, as in the paper (section 4.1).
        batch: crops a step.
        truth: a ground-truth file; see `read_ground_truth`.
        ids: the numbering of ImageNet's classes in that file, where it does not show.
        output: the JSON file of the report. `<output>.journal` keeps the answers until it is written, and after an
            interruption the same evaluation continues there.
        overwrite: whether an existing output is replaced.
        precision: as for `tfalexnet.predict`.
        max_pixels: as for `tfalexnet.predict`.
        engine: as for `tfalexnet.predict`.

    Returns:
        The report, as JSON holds it: what was evaluated and how; errors in per cent with the counts behind them, in
        all and by class; `confusion`, [true class, best class, pictures]; the unreadable files. `top5_…` is None for
        five classes or less.

    Raises:
        ValueError: the labels are not certain, no picture can be read, or the journal is of another evaluation.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`; or an output is not finite.
        FileExistsError: the output exists.
        BlockingIOError: another process writes the output.
        OSError: a file cannot be read or written, or a folder of pictures is gone; the same call continues.
    """
    _check_arguments(crops, batch, output, overwrite)
    if ids is not None and truth is None:
        raise ValueError("Expected a ground-truth file, whose numbers `ids` describes. Received: ids without one.")
    began = time.monotonic()
    folder = require_folder(folder)  # Before weights are downloaded.
    weights = default_weights() if weights is None else weights
    network = load_network(find_weights(weights), precision=precision, engine=engine)
    classes = network.spec.classes
    if truth is None:
        ground_truth = GroundTruth(label_by_folder(folder, classes))
    else:
        ground_truth = read_ground_truth(folder, classes, truth, ids)
    with contextlib.ExitStack() as stack:
        if output is None:
            journal_path = Path(stack.enter_context(tempfile.TemporaryDirectory()), "journal")
        else:
            stack.enter_context(exclusive_output(Path(output), overwrite))
            journal_path = Path(f"{os.fspath(output)}.journal")
        resumed_after, entries = _answer(network, ground_truth, folder, journal_path, crops, batch, max_pixels)
        report = {
            "weights": os.fspath(weights) if isinstance(weights, str | os.PathLike) else network.path.name,
            **_describe(network, crops),
            "folder": os.fspath(folder),
            "truth": truth and {"file": os.fspath(truth), "ids": ground_truth.ids, "unused": ground_truth.unused},
            **_results(network, ground_truth, entries),
            "resumed_after": resumed_after,
            "seconds": round(time.monotonic() - began, 2),
        }
        if output is not None:
            with explain_write_errors(journal_path), atomic_write(output) as temporary:
                temporary.write_text(f"{json.dumps(report, indent=1)}\n", "ascii")
            journal_path.unlink(missing_ok=True)
    return report


def _check_arguments(crops: int, batch: int, output: str | os.PathLike | None, overwrite: bool) -> None:
    if crops not in VIEWS:
        raise ValueError(f"Expected 1 or 10 crops. Received: {crops!r}")
    check_positive(batch=batch)
    if output is not None:
        if Path(output).is_dir():
            raise IsADirectoryError(f"{os.fspath(output)}: expected a file for the report; received a folder.")
        require_absent(Path(output), overwrite)


def _answer(
    network: Network,
    ground_truth: GroundTruth,
    folder: Path,
    journal_path: Path,
    crops: int,
    batch: int,
    max_pixels: int,
) -> tuple[int, list[Entry]]:
    """Run the network on the pictures that the journal lacks; return how many it had, and all entries."""
    files = [picture.relative_to(folder).as_posix() for picture, _ in ground_truth.pictures]
    labels = [label for _, label in ground_truth.pictures]
    labels_sha256 = names_digest(map(str, labels))
    header = job_header(network, files, crops=crops, max_pixels=max_pixels, labels_sha256=labels_sha256)
    journal = Journal(journal_path, header, files, folder)
    resumed_after = journal.count
    wrong = sum(_is_wrong(entry, label) for entry, label in zip(journal, labels, strict=False))

    def running_error(entry: Entry) -> str:
        nonlocal wrong
        wrong += _is_wrong(entry, labels[journal.count - 1])
        readable = journal.count - journal.unreadable
        return f"top-1 error {100 * wrong / readable:.2f} %" if readable else ""

    timing = Timing()
    results = run_network(network, journal.remaining(), crops, batch, max_pixels, timing)
    journal.record(results, _top5, {folder}, timing, running_error)
    entries = list(journal)
    if journal.unreadable == len(files):
        journal_path.unlink()  # It would make the next call fail without reading a picture.
        raise ValueError(
            f"{folder}: expected pictures; none of {len(files)} can be read. {files[0]}: {entries[0]['error']}."
        )
    return resumed_after, entries


def _is_wrong(entry: Entry, label: int) -> bool:
    return "error" not in entry and entry["top5"][0] != label


def _top5(outputs: Outputs) -> Entry:
    return {"top5": np.argsort(-outputs[0], kind="stable")[:5].tolist()}


def _describe(network: Network, crops: int) -> dict[str, Any]:
    """Return the part of the report about the weights and the protocol."""
    spec, path = network.spec, network.path
    published = identify_published(path, spec.architecture.name)
    return {
        "known": published and published.name,
        "file": path.name,
        "sha256": network.sha256,
        "architecture": spec.architecture.name,
        "protocol": {
            "words": spec.preprocessing.summary(VIEWS[crops].format(spec.preprocessing.crop)),
            "crops": crops,
            "precision": network.precision,
            "engine": network.engine,
            "preprocessing": spec.preprocessing.to_dict(),
        },
    }


def _results(network: Network, ground_truth: GroundTruth, entries: list[Entry]) -> dict[str, Any]:
    """Return the part of the report about the pictures."""
    labels = [label for _, label in ground_truth.pictures]
    answers: list[Answer] = [entry.get("top5") for entry in entries]
    return {
        "classes": len(network.spec.classes),
        "pictures": len(labels),
        "unreadable": [{"file": e["file"], "reason": e["error"]} for e in entries if "error" in e],
        **summarize_answers(labels, answers, network.spec.classes),
        "versions": {
            "tfalexnet": __version__,
            **{package: importlib.import_module(package).__version__ for package in network.packages},
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "python": platform.python_version(),
        },
    }

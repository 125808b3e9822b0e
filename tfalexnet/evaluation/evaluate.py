"""How often weights are wrong on labelled pictures, and how that was measured."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from tfalexnet import __version__
from tfalexnet.checkpoints.formats import keras_h5
from tfalexnet.evaluation.ground_truth import ID_NUMBERINGS, GroundTruth, Ids, label_by_folder, read_ground_truth
from tfalexnet.hub.cache import SHIPPED, default_weights, find_weights
from tfalexnet.hub.registry import IMAGENET, REGISTRY, PublishedWeights, Source
from tfalexnet.images.classes import Class
from tfalexnet.images.decode import PictureError
from tfalexnet.images.folders import check_folder_present, require_folder
from tfalexnet.inference.pipeline import run_network
from tfalexnet.inference.resume import append_journal, explain_write_errors, resume_journal
from tfalexnet.io.files import atomic_write, require_absent, sha256
from tfalexnet.io.progress import Progress
from tfalexnet.runtimes.cpu import Precision
from tfalexnet.runtimes.network import BATCH_SIZE, load_network

VALIDATION = 50_000  # Pictures in the validation set of ILSVRC 2012.

VIEWS = {
    1: "one view, the centre {0}×{0}",
    10: "ten views of {0}×{0}, corners and centre, mirrored too, softmax averaged",
}

Answer = list[int] | str
"""The five best classes of a picture, best first; or why it could not be read."""


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
) -> dict[str, Any]:
    """Top-1 and top-5 error on labelled pictures.

    Of equal probabilities the class of the lower number comes first. Pictures that cannot be read
    are named in the report and count in no error.

    Args:
        folder: of pictures; see `pictures.labelled`.
        weights: as for `tfalexnet.predict`.
        crops: 1 for the centre; 10 for the four corners and the centre, mirrored too, of which the
            softmax is averaged, as in the paper (section 4.1).
        batch: pictures a step, with ten crops views.
        truth: a ground-truth file; see `pictures.ground_truth`.
        ids: how it numbers ImageNet's classes, where it does not show.
        output: the JSON file for the report. Until it is written, `<output>.journal` keeps the
            answers, and the same evaluation goes on from there after an interruption.
        overwrite: whether an output that exists is replaced.
        precision: as for `tfalexnet.predict`.

    Returns:
        The report, as JSON holds it: what was evaluated and how; errors in per cent with the counts
        behind them, also of each class that there are pictures of; `confusion`, [true class, best
        class, pictures]; the unreadable files. `top5_…` is None where there are five classes or less.

    Raises:
        ValueError: what is there cannot be labelled with certainty, nothing can be read, or the
            journal is of another evaluation.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`; or the answers are no numbers.
        FileExistsError: the output exists.
        OSError: something cannot be read or written, or a folder of pictures is gone; the same call goes on.
    """
    if crops not in VIEWS:
        raise ValueError(f"Expected 1 or 10 crops. Received: {crops!r}")
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"Expected `batch` to be a positive integer. Received: batch={batch!r}")
    if output is not None and Path(output).is_dir():
        raise IsADirectoryError(f"{os.fspath(output)}: expected a file for the report; received a folder.")
    if output is not None:
        require_absent(Path(output), overwrite)
    began = time.monotonic()
    folder = require_folder(folder)  # Before weights are downloaded in vain.
    asked = os.fspath(default_weights() if weights is None else weights)
    path = find_weights(asked)
    network = load_network(path, precision=precision)
    if truth is None:
        found = GroundTruth(label_by_folder(folder, network.classes, ids=ids), None, 0)
    else:
        found = read_ground_truth(folder, network.classes, truth, ids)
    files = [picture.relative_to(folder).as_posix() for picture, _ in found.pictures]
    labels = [label for _, label in found.pictures]
    about = {
        "weights": sha256(path),
        "preprocessing": network.preprocessing.to_dict(),
        "precision": network.precision,
        "crops": crops,
        "pictures": len(files),
        "list": hashlib.sha256(json.dumps([files, labels]).encode()).hexdigest(),
    }
    log = None if output is None else Path(f"{os.fspath(output)}.journal")
    before = resume_journal(log, about, files, _named) if log else ()
    answers: list[Answer] = [answer for _, answer in before]
    resumed = len(answers)
    tally = Counter(map(_outcome, labels, answers))
    rest = [picture for picture, _ in found.pictures[resumed:]]
    with (
        append_journal(log or Path(os.devnull)) as append,
        contextlib.closing(run_network(network, rest, crops, batch)) as results,
        Progress(len(files), "pictures", start=resumed) as progress,
    ):
        for file, label, result in zip(files[resumed:], labels[resumed:], results, strict=True):
            if isinstance(result, PictureError):
                check_folder_present(folder / file, {folder})
                answers.append(result.reason)
            else:
                answers.append(np.argsort(-result[0], kind="stable")[:5].tolist())
            append([file, answers[-1]])
            tally[_outcome(label, answers[-1])] += 1
            progress.advance(1, _running(tally))
    if tally["unreadable"] == len(files):
        if log:
            log.unlink(missing_ok=True)  # Or the next run would go on from here, where nothing is left to read.
        raise ValueError(
            f"{os.fspath(folder)}: expected pictures; none of {len(files)} can be read. {files[0]}: {answers[0]}."
        )
    published = identify_published(path, network.architecture.name)
    report = {
        "weights": asked,
        "known": published and published.name,
        "file": path.name,
        "sha256": about["weights"],
        "architecture": network.architecture.name,
        "protocol": {
            "words": network.preprocessing.summary(VIEWS[crops].format(network.preprocessing.crop)),
            "crops": crops,
            "precision": about["precision"],
            "preprocessing": about["preprocessing"],
        },
        "folder": os.fspath(folder),
        "truth": truth and {"file": os.fspath(truth), "ids": found.ids, "unused": found.unused},
        "classes": len(network.classes),
        "pictures": len(files),
        "unreadable": [
            {"file": file, "reason": answer}
            for file, answer in zip(files, answers, strict=True)
            if isinstance(answer, str)
        ],
        **summarize_answers(labels, answers, network.classes),
        "versions": _versions(network.packages),
        "resumed_after": resumed,
        "seconds": round(time.monotonic() - began, 2),
    }
    if log:
        with explain_write_errors(log), atomic_write(output) as temporary:
            temporary.write_text(f"{json.dumps(report, indent=1)}\n", "ascii")
        log.unlink(missing_ok=True)
    return report


def summarize_answers(labels: list[int], answers: list[Answer], classes: tuple[Class, ...]) -> dict[str, Any]:
    """Errors, overall and by class, and confusion, as `evaluate` reports them.

    Args:
        labels: the true class of each picture.
        answers: what was answered to each.
        classes: all there are.
    """
    read = [pair for pair in zip(labels, answers, strict=True) if not isinstance(pair[1], str)]
    by_class: dict[int, list] = {label: [] for label in sorted(set(labels))}
    for label, top in read:
        by_class[label].append((label, top))
    confusion = Counter((label, top[0]) for label, top in read)
    return {
        **_errors(read, len(classes)),
        "per_class": {
            str(label): {
                "wnid": classes[label].wnid,
                "name": classes[label].label,
                **_errors(pairs, len(classes)),
            }
            for label, pairs in by_class.items()
        },
        "confusion": [[label, best, count] for (label, best), count in sorted(confusion.items())],
    }


def identify_published(path: Path, architecture: str) -> PublishedWeights | None:
    """What is published of the weights in a file, if anything is of them in this network.

    Args:
        path: what ships, a published file, or a `.weights.h5` that says that it was converted from one,
            whatever it is called.
        architecture: the name of the network that they are run in.
    """
    said = keras_h5.attributes(path) if keras_h5.recognises(path) else {}

    def made_from(source: Source) -> bool:
        digest = source.digest
        if "source" not in said:
            return digest.of(path) == digest.hexadecimal
        if digest.algorithm == "sha256":
            return said.get("source_sha256") == digest.hexadecimal
        return said["source"] == source.urls[0].rsplit("/", 1)[-1]

    for known in REGISTRY.values():
        if known.architecture == architecture and (
            any(map(made_from, known.sources)) if known.sources else path.samefile(SHIPPED / known.file)
        ):
            return known
    return None


def report_table(report: dict[str, Any]) -> str:
    """The errors of a report next to the published ones, and what to know when comparing them."""
    known = REGISTRY.get(report["known"])
    lines = [f"{'':<13}{'measured':>12}{'published':>12}{'difference':>12}"]
    for top, name in (("top1", "top-1 error"), ("top5", "top-5 error")):
        measured, published = report[f"{top}_error"], _published(known, top)
        if measured is not None:
            beside = f"{'–':>12}{'–':>12}"
            if published is not None:
                beside = f"{f'{published:.2f} %':>12}{measured - published:>+12.2f}"
            lines.append(f"{name:<13}{f'{measured:.2f} %':>12}{beside}")
    facts = {
        "weights": f"{report['weights']} ({report['architecture']})",
        "pictures": f"{report['read']:,} of {len(report['per_class'])} classes",
        "unreadable": f"{len(report['unreadable']):,}",
        "protocol": report["protocol"]["words"],
    }
    if report["truth"]:
        counted = f"; {ID_NUMBERINGS[report['truth']['ids']]}" if report["truth"]["ids"] else ""
        facts["labels"] = f"{report['truth']['file']}{counted}; {report['truth']['unused']:,} without a picture"
    if known:
        facts["published"] = known.accuracy.protocol
    lines += ["", *(f"{name:<13}{fact}" for name, fact in facts.items())]
    if known and (reservations := _reservations(report, known)):
        lines += ["", f"The published figures are only beside: {'; '.join(reservations)}."]
    return "\n".join(lines)


def _published(known: PublishedWeights | None, top: str) -> float | None:
    accuracy = known and getattr(known.accuracy, top)
    return None if accuracy is None else 100 - accuracy


def _reservations(report: dict[str, Any], known: PublishedWeights) -> list[str]:
    """Why the published figures are of something else."""
    found = []
    if report["protocol"]["crops"] != 1:
        found.append("they are of one view")
    if len(report["per_class"]) < report["classes"]:
        found.append(f"here are pictures of {len(report['per_class'])} of {report['classes']} classes")
    elif known.classes == IMAGENET and report["pictures"] != VALIDATION:
        found.append(f"here are {report['pictures']:,} pictures, in the validation set {VALIDATION:,}")
    return found


def _errors(read: list[tuple[int, list[int]]], classes: int) -> dict[str, Any]:
    wrong = {
        "top1": sum(label != top[0] for label, top in read),
        "top5": sum(label not in top for label, top in read) if classes > 5 else None,
    }
    found: dict[str, Any] = {"read": len(read)}
    for name, count in wrong.items():
        known = count is not None and read
        found |= {f"{name}_wrong": count, f"{name}_error": 100 * count / len(read) if known else None}
    return found


def _outcome(label: int, answer: Answer) -> str:
    if isinstance(answer, str):
        return "unreadable"
    return "right" if answer[0] == label else "wrong"


def _running(tally: Counter[str]) -> str:
    read = tally["right"] + tally["wrong"]
    return f"top-1 error {100 * tally['wrong'] / read:.2f} %" if read else ""


def _named(entry: Any) -> str | None:
    match entry:
        case [str() as file, list() | str()]:
            return file
    return None


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {
        "tfalexnet": __version__,
        **{package: importlib.import_module(package).__version__ for package in packages},
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }

"""The command line: a function call for each command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from tfalexnet.cli.arguments import parse

FEW = 100  # Photos for which the compilation of a faster network does not pay.


def main() -> None:
    """The command `tfalexnet`."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    arguments = parse()
    sys.stdout.reconfigure(errors="backslashreplace")  # Names that the terminal has no letters for.
    _silence_libraries()
    warnings.showwarning = lambda message, *_: _complain(f"note: {message}")
    sys.exit(_run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    try:
        return COMMANDS[arguments.command](arguments)
    except (ValueError, OSError) as error:  # What the user can mend; anything else is a bug.
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return arguments.trouble
        _complain(_words(error))
        return arguments.trouble
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130


def _predict(arguments: argparse.Namespace) -> int:
    from tfalexnet.hub.cache import default_weights
    from tfalexnet.images.decode import PictureError
    from tfalexnet.inference.label import expand_sources, label
    from tfalexnet.inference.predict import iter_predictions

    if arguments.weights is None:
        _complain(f"weights: {default_weights()}")
    how = arguments.weights, arguments.top, arguments.precision
    if arguments.overwrite and not arguments.output:
        raise ValueError("Expected --overwrite with --output. Received: it alone")
    if arguments.output:
        if arguments.json:
            raise ValueError("Expected --json for the terminal, or --output FILE.jsonl. Received: both")
        try:
            report = label(arguments.photos, arguments.output, *how, arguments.overwrite)
        except KeyboardInterrupt:
            _complain(f"interrupted; what is done is kept. To go on: {shlex.join(['tfalexnet', *sys.argv[1:]])}")
            return 130
        print(f"{report.files} files, {report.unreadable} of them unreadable: {arguments.output}")
        return 1 if report.unreadable else 0
    photos, failed = [], 0
    for source in arguments.photos:
        try:
            photos += expand_sources(source)
        except FileNotFoundError:
            photos.append(source)  # Said in its turn.
        except (ValueError, OSError) as error:
            failed += 1
            _complain(_words(error))
    for photo, answer in zip(photos, iter_predictions(photos, *how, compiled=len(photos) > FEW), strict=True):
        if isinstance(answer, PictureError):
            failed += 1
            _complain(str(answer))
        elif arguments.json:
            predictions = [prediction._asdict() for prediction in answer]
            print(json.dumps({"file": photo, "predictions": predictions}, ensure_ascii=False))
        else:
            print(photo)
            for prediction in answer:
                bar = _block() * round(20 * prediction.score)
                wnid = f"  {prediction.wnid}" if prediction.wnid else ""
                print(f"  {prediction.score:6.1%} {bar:<20} {prediction.index:>4}{wnid}  {prediction.label}")
    return 1 if failed else 0


def _convert(arguments: argparse.Namespace) -> int:
    from tfalexnet.tools.convert import convert, parameters_table

    output, checkpoint = convert(
        arguments.file,
        arguments.output,
        arguments.architecture,
        arguments.labels,
        dict(arguments.map),
        arguments.overwrite,
    )
    print(parameters_table(checkpoint))
    for note in checkpoint.notes:
        print(f"\nNote: {note}")
    classes = "no classifier" if checkpoint.missing else f"{checkpoint.architecture.classes} classes"
    print(f"\n{checkpoint.architecture.name}, {classes}, written to {output}")
    if not checkpoint.preprocessing:
        print("Nobody says how its pictures are prepared: `predict` cannot use it, `AlexNet(…, weights=…)` can.")
    elif not checkpoint.missing:
        print(f"Next: tfalexnet predict PHOTO --weights {shlex.quote(str(output))}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from tfalexnet.tools.convert import describe_checkpoint

    print(describe_checkpoint(arguments.file, arguments.architecture))
    return 0


def _compress(arguments: argparse.Namespace) -> int:
    from tfalexnet.images.folders import list_pictures
    from tfalexnet.tools.compress import compress, compression_table

    pictures = list_pictures(arguments.pictures) if arguments.pictures else None
    found = compress(arguments.weights, arguments.output, arguments.energy, pictures, arguments.overwrite)
    print(compression_table(found))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from tfalexnet.exporters.export import export

    output = export(
        arguments.weights,
        arguments.output,
        arguments.format,
        arguments.precision,
        arguments.pictures,
        arguments.overwrite,
    )
    print(f"{arguments.precision}, for {arguments.format}, written to {output}")
    return 0


def _features(arguments: argparse.Namespace) -> int:
    from tfalexnet.inference.features import extract_features

    failed = extract_features(
        arguments.folder,
        arguments.output,
        arguments.layer,
        arguments.weights,
        arguments.batch,
        arguments.overwrite,
        arguments.precision,
    )
    for error in failed:
        _complain(str(error))
    print(f"{', '.join(arguments.layer)} written to {arguments.output}")
    return 1 if failed else 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from tfalexnet.evaluation.evaluate import evaluate, report_table

    report = evaluate(
        arguments.folder,
        arguments.weights,
        arguments.crops,
        arguments.batch,
        arguments.truth,
        arguments.truth_ids,
        arguments.output,
        arguments.overwrite,
        arguments.precision,
    )
    for unreadable in report["unreadable"]:
        _complain(f"{unreadable['file']}: {unreadable['reason']}")
    print(report_table(report))
    print(f"The whole report: {arguments.output}")
    return 1 if report["unreadable"] else 0


def _verify(arguments: argparse.Namespace) -> int:
    from tfalexnet.tools.verify import report_table, verify

    report = verify(arguments.pictures, arguments.weights, arguments.architecture)
    print(report_table(report))
    return 0 if report.passed else 1


def _diff(arguments: argparse.Namespace) -> int:
    from tfalexnet.tools.compare import comparison_table, diff

    found = diff(arguments.a, arguments.b, arguments.architecture, arguments.weights)
    print(comparison_table(found))
    return 0 if found.same else 1


def _train(arguments: argparse.Namespace) -> int:
    from tfalexnet.data.batching import read
    from tfalexnet.training.distribute import get_strategy
    from tfalexnet.training.loop import Options, Stopped
    from tfalexnet.training.recipes import recipe
    from tfalexnet.training.trainer import resolve_architecture, train

    net = resolve_architecture(arguments.architecture, arguments.weights)
    recipe = recipe(
        arguments.recipe,
        net.name,
        arguments.weights is not None,
        epochs=arguments.epochs,
        batch=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        augment=arguments.augment,
    )
    options = Options(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Options)})
    parts = read(arguments.data, arguments.classes)
    command = shlex.join(["tfalexnet", *sys.argv[1:]])
    path = Path(arguments.data)
    origin = {"data": str(path.resolve() if path.exists() else path), "command": command}
    strategy = get_strategy(arguments.strategy)
    try:
        model = train(*parts, net, recipe, arguments.output, options, strategy, origin)
    except Stopped as stopped:
        _complain(f"{stopped}. To go on: {command}")
        return 130
    print(f"Next: tfalexnet predict PHOTO --weights {shlex.quote(str(model))}")
    return 0


def _list(_: argparse.Namespace) -> int:
    from tfalexnet.hub.cache import weights_table
    from tfalexnet.networks.catalog import architectures_table

    print(f"Architectures\n{architectures_table()}\n\nWeights\n{weights_table()}")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "predict": _predict,
    "convert": _convert,
    "info": _info,
    "compress": _compress,
    "export": _export,
    "features": _features,
    "evaluate": _evaluate,
    "verify": _verify,
    "diff": _diff,
    "train": _train,
    "list": _list,
}


def _block() -> str:
    """A piece of a bar that the terminal can show."""
    try:
        "█".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "#"
    return "█"


def _words(error: Exception) -> str:
    """What is wrong, and with which file where only the system knows."""
    where = f"{error.filename}: " if getattr(error, "filename", None) else ""
    return where + (getattr(error, "strerror", None) or str(error))


def _complain(message: str) -> None:
    print(f"tfalexnet: {message}", file=sys.stderr)


def _silence_libraries() -> None:
    """Keep the chatter of TensorFlow's and Pillow's C libraries from the terminal.

    They write to file descriptor 2 whatever the log level; Python's own messages keep the terminal.
    TF_CPP_MIN_LOG_LEVEL=0 in the environment brings the chatter back.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        return
    terminal = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    main()

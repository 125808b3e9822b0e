"""The command line: flags to function calls."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from absl import app
from absl.flags import argparse_flags


def main() -> None:
    """The command `tfalexnet`."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    _silence_libraries()
    app.run(_run, flags_parser=_parse)


def _run(arguments: argparse.Namespace) -> int:
    try:
        return arguments.command(arguments)
    except (ValueError, OSError) as error:  # What the user can mend; anything else is a bug.
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        where = f"{error.filename}: " if getattr(error, "filename", None) else ""
        _complain(where + (getattr(error, "strerror", None) or str(error)))
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130


def _predict(arguments: argparse.Namespace) -> int:
    from tfalexnet.prediction import answers
    from tfalexnet.preprocessing import PictureError

    failed = 0
    found = answers(arguments.photos, arguments.weights, arguments.top)
    for photo, answer in zip(arguments.photos, found, strict=True):
        if isinstance(answer, PictureError):
            failed += 1
            _complain(str(answer))
        elif arguments.json:
            predictions = [prediction._asdict() for prediction in answer]
            print(json.dumps({"file": photo, "predictions": predictions}, ensure_ascii=False))
        else:
            print(photo)
            for prediction in answer:
                bar = "█" * round(20 * prediction.score)
                wnid = f"  {prediction.wnid}" if prediction.wnid else ""
                print(f"  {prediction.score:6.1%} {bar:<20} {prediction.index:>4}{wnid}  {prediction.label}")
    return 1 if failed else 0


def _convert(arguments: argparse.Namespace) -> int:
    from tfalexnet import conversion

    output, checkpoint = conversion.convert(
        arguments.file, arguments.output, arguments.architecture, arguments.labels, dict(arguments.map)
    )
    print(conversion.table(checkpoint))
    for note in checkpoint.notes:
        print(f"\nNote: {note}")
    classes = "no classifier" if checkpoint.missing else f"{checkpoint.architecture.classes} classes"
    print(f"\n{checkpoint.architecture.name}, {classes}, written to {output}")
    if not checkpoint.missing and checkpoint.preprocessing:
        print(f"Next: tfalexnet predict PHOTO --weights {output}")
    return 0


def _list(_: argparse.Namespace) -> int:
    from tfalexnet.architectures import ARCHITECTURES
    from tfalexnet.weights import KNOWN, locate

    print("Architectures")
    for net in ARCHITECTURES.values():
        sides = "×".join(map(str, net.input_shape))
        print(f"  {net.name:<21} {sides:<10} {net.classes:>4} classes  {net.source}")
    print("\nWeights")
    for known in KNOWN.values():
        reached = f"{known.accuracy.top1} % top-1"
        if known.accuracy.top5:
            reached += f", {known.accuracy.top5} % top-5"
        print(f"  {known.name:<17} {reached} ({known.accuracy.protocol})")
        lines = [f"network: {known.architecture}", f"classes: {known.classes}", f"licence: {known.licence}"]
        for source in known.sources:
            size = f", {source.size / 1e6:.1f} MB" if source.size else ""
            lines += [f"source: {url}" for url in source.urls]
            certain = "" if source.digest.certain else ", stated by one source only"
            lines.append(f"        {source.digest.algorithm} {source.digest.hexadecimal}{certain}{size}")
        lines.append(f"here: {locate(known.name) or 'not yet; downloaded when first used'}")
        for line in lines:
            print(f"  {'':<17} {line}")
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse_flags.ArgumentParser(
        prog="tfalexnet",
        description="AlexNet exactly as published: label photos, convert weights.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=text[0].lower() + text[1:], description=f"{text}.", inherited_absl_flags=None
        )
        added.set_defaults(command=function)
        return added

    predict = command("predict", _predict, "Print the best classes of photos")
    predict.add_argument("photos", metavar="PHOTO", nargs="+", help="picture files")
    predict.add_argument(
        "--weights",
        metavar="W",
        help="a name or a file (default: bvlc_alexnet where it is at hand, else deep_compression)",
    )
    predict.add_argument(
        "--top", type=_positive, default=5, metavar="N", help="how many classes (default: %(default)s)"
    )
    predict.add_argument("--json", action="store_true", help="a line of JSON for each photo")

    convert = command("convert", _convert, "Convert a checkpoint, for Keras or for others")
    convert.add_argument("file", metavar="FILE", help="the checkpoint, in any known format, or a known name")
    convert.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="ends in .weights.h5, .npy, .caffemodel, .safetensors, .npz or .net "
        "(default: weights/<name>.weights.h5)",
    )
    convert.add_argument(
        "--architecture",
        metavar="NAME",
        help="default: what FILE says or is named after, or else what it fits",
    )
    convert.add_argument(
        "--map",
        type=_renaming,
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="what the network calls a layer of FILE; may be repeated",
    )
    convert.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes, one on a line")

    command("list", _list, "List architectures and weights, with source and accuracy")
    return parser.parse_args(argv[1:])


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, received {value}")
    return value


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"expected OLD=NEW, received {text!r}")
    return old, new


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

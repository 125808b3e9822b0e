"""The command line: flags to function calls."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from tfalexnet import __version__

WEIGHTS = "a name (tfalexnet list) or a file (default: bvlc_alexnet where it is at hand, else deep_compression)"
FEW = 100  # Photos for which the compilation of a faster network does not pay.
RECIPES = """\
recipe                optimizer        rate  batch  epochs  schedule                  augment
paper                 momentum 0.9     0.01    128      90  plateau                   paper
caffe                 momentum 0.9     0.01    256      90  step                      crop
fine-tune             momentum 0.9    0.001     32      10  cosine                    crop
source, of
single_tower          adam            0.001     32      10  constant                  none
single_tower_avgpool  plain descent   0.001     32      10  constant                  none
d2l_fashion_mnist     plain descent    0.01    128      10  constant                  none
mnist_28              adam            0.001     64      10  constant                  none
tflearn_flowers17     momentum 0.9    0.001     64    1000  constant                  none
cifar10_18pct         momentum 0.9    0.001    128     140  after 120 and 130 epochs  none

source is paper for krizhevsky2012 and one_weird_trick, caffe for bvlc_alexnet, bvlc_caffenet and tf_alexnet.
fine-tune of cifar10_18pct has rate 1e-05."""  # Of `training`, which needs Keras; a test compares.
READ = ".npy, .caffemodel, .pth, .safetensors, .npz, .net or .weights.h5"


def main() -> None:
    """The command `tfalexnet`."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    arguments = _parse()
    sys.stdout.reconfigure(errors="backslashreplace")  # Names that the terminal has no letters for.
    _silence_libraries()
    warnings.showwarning = lambda message, *_: _complain(f"note: {message}")
    sys.exit(_run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    try:
        return arguments.command(arguments)
    except (ValueError, OSError) as error:  # What the user can mend; anything else is a bug.
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return arguments.trouble
        where = f"{error.filename}: " if getattr(error, "filename", None) else ""
        _complain(where + (getattr(error, "strerror", None) or str(error)))
        return arguments.trouble
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130


def _predict(arguments: argparse.Namespace) -> int:
    from tfalexnet import labelling
    from tfalexnet.prediction import answers
    from tfalexnet.preprocessing import PictureError
    from tfalexnet.weights import default

    if arguments.weights is None:
        _complain(f"weights: {default()}")
    how = arguments.weights, arguments.top, arguments.precision
    if arguments.overwrite and not arguments.output:
        raise ValueError("Expected --overwrite with --output. Received: it alone")
    if arguments.output:
        if arguments.json:
            raise ValueError("Expected --json for the terminal, or --output FILE.jsonl. Received: both")
        try:
            report = labelling.label(arguments.photos, arguments.output, *how, arguments.overwrite)
        except KeyboardInterrupt:
            _complain(f"interrupted; what is done is kept. To go on: {shlex.join(['tfalexnet', *sys.argv[1:]])}")
            return 130
        print(f"{report.files} files, {report.unreadable} of them unreadable: {arguments.output}")
        return 1 if report.unreadable else 0
    photos, failed = [], 0
    for source in arguments.photos:
        try:
            photos += labelling.listed(source)
        except FileNotFoundError:
            photos.append(source)  # Said in its turn.
    for photo, answer in zip(photos, answers(photos, *how, compiled=len(photos) > FEW), strict=True):
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
    from tfalexnet import conversion

    output, checkpoint = conversion.convert(
        arguments.file,
        arguments.output,
        arguments.architecture,
        arguments.labels,
        dict(arguments.map),
        arguments.overwrite,
    )
    print(conversion.table(checkpoint))
    for note in checkpoint.notes:
        print(f"\nNote: {note}")
    classes = "no classifier" if checkpoint.missing else f"{checkpoint.architecture.classes} classes"
    print(f"\n{checkpoint.architecture.name}, {classes}, written to {output}")
    if not checkpoint.missing and checkpoint.preprocessing:
        print(f"Next: tfalexnet predict PHOTO --weights {shlex.quote(str(output))}")
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from tfalexnet import conversion

    print(conversion.described(arguments.file, arguments.architecture))
    return 0


def _compress(arguments: argparse.Namespace) -> int:
    from tfalexnet import compression
    from tfalexnet.pictures import pictures_in

    pictures = pictures_in(arguments.pictures) if arguments.pictures else None
    found = compression.compress(arguments.weights, arguments.output, arguments.energy, pictures, arguments.overwrite)
    print(compression.table(found))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from tfalexnet import exporting
    from tfalexnet.pictures import pictures_in

    pictures = pictures_in(arguments.pictures) if arguments.pictures else None
    output = exporting.export(
        arguments.weights, arguments.output, arguments.format, arguments.precision, pictures, arguments.overwrite
    )
    print(f"{arguments.precision}, for {arguments.format}, written to {output}")
    return 0


def _features(arguments: argparse.Namespace) -> int:
    from tfalexnet.activations import extract

    failed = extract(
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
    from tfalexnet import evaluation

    report = evaluation.evaluate(
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
    print(evaluation.table(report))
    print(f"The whole report: {arguments.output}")
    return 1 if report["unreadable"] else 0


def _verify(arguments: argparse.Namespace) -> int:
    from tfalexnet import verification

    report = verification.verify(arguments.pictures, arguments.weights, arguments.architecture)
    print(verification.table(report))
    return 0 if report.passed else 1


def _diff(arguments: argparse.Namespace) -> int:
    from tfalexnet import comparison

    found = comparison.diff(arguments.a, arguments.b, arguments.architecture, arguments.weights)
    print(comparison.table(found))
    return 0 if found.same else 1


def _train(arguments: argparse.Namespace) -> int:
    from tfalexnet import data, distribution, learning, runs, training

    net = runs.network(arguments.architecture, arguments.weights)
    recipe = training.recipe(
        arguments.recipe,
        net.name,
        arguments.weights is not None,
        epochs=arguments.epochs,
        batch=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        augment=arguments.augment,
    )
    options = runs.Options(
        **{field.name: getattr(arguments, field.name) for field in dataclasses.fields(runs.Options)}
    )
    parts = data.read(arguments.data, arguments.seed, arguments.classes)
    command = shlex.join(["tfalexnet", *sys.argv[1:]])
    path = Path(arguments.data)
    origin = {"data": str(path.resolve() if path.exists() else path), "command": command}
    strategy = distribution.strategy_named(arguments.strategy)
    try:
        model = runs.train(*parts, net, recipe, arguments.output, options, strategy, origin)
    except learning.Stopped as stopped:
        _complain(f"{stopped}. To go on: {command}")
        return 130
    print(f"Next: tfalexnet predict PHOTO --weights {shlex.quote(str(model))}")
    return 0


def _list(_: argparse.Namespace) -> int:
    from tfalexnet import architectures, weights

    print(f"Architectures\n{architectures.table()}\n\nWeights\n{weights.table()}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tfalexnet",
        description="AlexNet exactly as published: label photos; convert, check and study weights.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text[0].lower() + text[1:], description=f"{text}.")
        added.set_defaults(command=function, trouble=1)
        return added

    def writing(command: argparse.ArgumentParser) -> None:
        command.add_argument("--overwrite", action="store_true", help="replace an output that exists")

    def inferring(command: argparse.ArgumentParser) -> None:
        command.add_argument("--weights", metavar="W", help=WEIGHTS)
        command.add_argument(
            "--precision",
            choices=("float32", "bfloat16", "auto"),
            default="float32",
            help="bfloat16 is up to three times as fast on processors that have it, with probabilities that differ "
            "by up to .02; auto takes it there (default: %(default)s)",
        )

    predict = command("predict", _predict, "Print the best classes of photos")
    predict.add_argument("photos", metavar="PHOTO", nargs="+", help="files, folders, or patterns in quotes")
    inferring(predict)
    predict.add_argument(
        "--top", type=positive, default=5, metavar="N", help="how many classes (default: %(default)s)"
    )
    predict.add_argument("--json", action="store_true", help="a line of JSON for each photo")
    predict.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write a row for each photo, ends in .jsonl, .csv or .parquet; interrupted, the same command goes on",
    )
    writing(predict)

    convert = command("convert", _convert, "Convert a checkpoint, for Keras or for others")
    convert.add_argument("file", metavar="FILE", help=f"{READ}, told from its content; or a known name")
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
        help="a network of `tfalexnet list` (default: what FILE says or is named after, or else what it fits)",
    )
    convert.add_argument(
        "--map",
        type=renaming,
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="what the network calls a layer of FILE; may be repeated",
    )
    convert.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes, one on a line, UTF-8")
    writing(convert)

    info = command("info", _info, "Show what a checkpoint holds")
    info.add_argument("file", metavar="FILE", help="a file in any format, or a known name")
    info.add_argument("--architecture", metavar="NAME", help="the network of a file that does not say")

    compress = command("compress", _compress, "Prune and cluster weights into Deep Compression's layout")
    compress.add_argument("weights", metavar="W", help="a known name or a file")
    compress.add_argument("--output", type=Path, required=True, metavar="FILE", help="ends in .net")
    compress.add_argument(
        "--energy",
        type=float,
        default=0.999,
        metavar="E",
        help="share of each kernel's squared norm that the weights which are kept hold (default: %(default)s)",
    )
    compress.add_argument("--pictures", type=Path, metavar="DIR", help="to measure what the outputs lost on")
    writing(compress)

    export = command("export", _export, "Write a network for TensorFlow Serving, LiteRT, ONNX or OpenVINO")
    export.add_argument("weights", metavar="MODEL", help="a known name or a file")
    export.add_argument("--format", required=True, choices=("savedmodel", "litert", "onnx", "openvino"))
    export.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "float16", "int8"),
        default="float32",
        help="bfloat16: savedmodel; float16: all but it, weights alone; int8: litert (default: %(default)s)",
    )
    export.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="ends in .tflite, .onnx or .xml; of a SavedModel a folder (default: weights/<name>…)",
    )
    export.add_argument("--pictures", type=Path, metavar="DIR", help="like those it will see, for int8")
    writing(export)

    features = command("features", _features, "Write what layers answer to the pictures of a folder")
    features.add_argument("folder", metavar="DIR", type=Path)
    features.add_argument(
        "--layer",
        action="append",
        required=True,
        metavar="L",
        help="fc7 is after its ReLU, fc7:pre before; norm1, pool5, prob …; may be repeated",
    )
    features.add_argument("--output", type=Path, required=True, metavar="FILE", help="an HDF5 file, such as f.h5")
    inferring(features)
    features.add_argument(
        "--batch", type=positive, default=32, metavar="N", help="pictures a step (default: %(default)s)"
    )

    writing(features)

    evaluate = command("evaluate", _evaluate, "Measure top-1 and top-5 error on labelled pictures")
    evaluate.add_argument("folder", metavar="DIR", type=Path, help="a folder for each class, or all pictures in one")
    inferring(evaluate)
    evaluate.add_argument(
        "--crops", type=int, choices=(1, 10), default=1, help="the centre, or the paper's ten (default: %(default)s)"
    )
    evaluate.add_argument(
        "--batch", type=positive, default=32, metavar="N", help="pictures a step (default: %(default)s)"
    )
    evaluate.add_argument("--truth", type=Path, metavar="FILE", help="ground truth, where there are no class folders")
    evaluate.add_argument(
        "--truth-ids",
        choices=("sorted", "ilsvrc"),
        help="how it numbers classes: sorted WordNet ids from 0, or the devkit's from 1 (default: as it shows)",
    )
    evaluate.add_argument(
        "--output",
        type=Path,
        default=Path("evaluation.json"),
        metavar="FILE",
        help="the report; an interrupted evaluation goes on from beside it (default: %(default)s)",
    )

    writing(evaluate)

    verify = command("verify", _verify, "Check weights by the published answers to known pictures")
    verify.add_argument("pictures", metavar="PICTURE", nargs="+", type=Path, help="files or folders")
    verify.add_argument("--weights", metavar="W", help=WEIGHTS)

    verify.add_argument("--architecture", metavar="NAME", help="the network of weights that do not say")

    diff = command("diff", _diff, "Compare two checkpoints, or two architectures, layer by layer")
    diff.set_defaults(trouble=2)  # 1 says that they differ, as in diff(1).
    diff.add_argument("a", metavar="A", help="an architecture, known weights or a file")
    diff.add_argument("b", metavar="B", help="the same")
    diff.add_argument("--architecture", metavar="NAME", help="the network of files that do not say")
    diff.add_argument(
        "--weights", action="store_true", help="names are weights, also where they are architectures too"
    )

    train = command("train", _train, "Train on your own pictures, restartable at any moment")
    train.formatter_class, train.epilog = argparse.RawDescriptionHelpFormatter, RECIPES
    train.add_argument(
        "data",
        metavar="DATA",
        help="a folder for each class, or of such folders train and val, or of lists train.txt and val.txt; an .npz; "
        "or mnist, fashion_mnist, cifar10. What is in val, valid, validation or test (an .npz: x_test) validates; "
        "else a tenth of each class",
    )
    train.add_argument("--output", type=Path, required=True, metavar="RUN", help="the folder that keeps all of it")
    train.add_argument(
        "--architecture", metavar="A", help="see tfalexnet list (default: that of --weights, else bvlc_alexnet)"
    )
    train.add_argument("--weights", metavar="W", help="a known name or a file to start from (default: fresh ones)")
    train.add_argument(
        "--classes", type=Path, metavar="FILE", help="names of the classes in their order, one on a line"
    )
    train.add_argument("--freeze-until", metavar="L", help="the first layer that learns, such as fc6 or fc8")
    train.add_argument(
        "--recipe",
        choices=("source", "paper", "caffe", "fine-tune"),
        help="see below (default: fine-tune with --weights, else that of the network's source)",
    )
    train.add_argument("--epochs", type=positive, metavar="N", help="default: the recipe's")
    train.add_argument("--batch-size", type=positive, metavar="N", help="default: the recipe's")
    train.add_argument("--learning-rate", type=rate, metavar="E", help="default: the recipe's")
    train.add_argument("--augment", choices=("none", "mirror", "crop", "paper"), help="default: the recipe's")
    train.add_argument(
        "--colours",
        choices=("imagenet", "own"),
        default="imagenet",
        help="whose colours --augment paper varies: ImageNet's, or those of DATA (default: %(default)s)",
    )
    train.add_argument("--dropout", type=float, metavar="P", help="of all dropout layers (default: as published)")
    train.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    train.add_argument("--seed", type=int, default=2012, metavar="N", help="default: %(default)s")
    train.add_argument("--devices", type=devices, metavar="D,D", help="of the two towers, such as /GPU:0,/GPU:1")
    train.add_argument(
        "--strategy",
        choices=("mirrored", "multi-worker"),
        help="spread batches over devices, or machines (TF_CONFIG)",
    )
    train.add_argument("--deterministic", action="store_true", help="equal weights to the bit in every run, slower")
    train.add_argument(
        "--strict",
        action="store_true",
        help="a picture that cannot be read ends the training, as it always does with --strategy",
    )
    train.add_argument(
        "--log-interval",
        type=positive,
        default=10,
        metavar="N",
        help="steps between two looks at the loss, and at whether to stop (default: %(default)s)",
    )
    train.add_argument(
        "--checkpoint-minutes",
        type=rate,
        default=5.0,
        metavar="M",
        help="also after each epoch (default: %(default)s)",
    )

    command("list", _list, "List architectures and weights, with source and accuracy")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, received {text!r}")
    return int(text)


def rate(text: str) -> float:
    """A learning rate, or minutes."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, received {text!r}")
    return value


def devices(text: str) -> tuple[str, ...]:
    """Names of devices between commas."""
    return tuple(text.split(","))


def renaming(text: str) -> tuple[str, str]:
    """OLD=NEW."""
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"expected OLD=NEW, received {text!r}")
    return old, new


def _block() -> str:
    """A piece of a bar that the terminal can show."""
    try:
        "█".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "#"
    return "█"


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

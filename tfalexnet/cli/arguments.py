"""The flags of every command, and what is said of them."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from tfalexnet import __version__

WEIGHTS = "a name (tfalexnet list) or a file (default: bvlc_alexnet where it is at hand, else deep_compression)"
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


def parse() -> argparse.Namespace:
    """What the command line says; `command` is the name of the command, `trouble` the exit status of a mistake."""
    parser = argparse.ArgumentParser(
        prog="tfalexnet",
        description="AlexNet exactly as published: label photos; convert, check and study weights.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text[0].lower() + text[1:], description=f"{text}.", allow_abbrev=False)
        added.set_defaults(command=name, trouble=1)
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

    predict = command("predict", "Print the best classes of photos")
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

    convert = command("convert", "Convert a checkpoint, for Keras or for others")
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

    info = command("info", "Show what a checkpoint holds")
    info.add_argument("file", metavar="FILE", help="a file in any format, or a known name")
    info.add_argument("--architecture", metavar="NAME", help="the network of a file that does not say")

    compress = command("compress", "Prune and cluster weights into Deep Compression's layout")
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

    export = command("export", "Write a network for TensorFlow Serving, LiteRT, ONNX or OpenVINO")
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

    features = command("features", "Write what layers answer to the pictures of a folder")
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

    evaluate = command("evaluate", "Measure top-1 and top-5 error on labelled pictures")
    evaluate.add_argument("folder", metavar="DIR", type=Path, help="a folder for each class, or all pictures in one")
    inferring(evaluate)
    evaluate.add_argument(
        "--crops", type=int, choices=(1, 10), default=1, help="the centre, or the paper's ten (default: %(default)s)"
    )
    evaluate.add_argument(
        "--batch",
        type=positive,
        default=32,
        metavar="N",
        help="pictures a step; with --crops 10 views (default: %(default)s)",
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

    verify = command("verify", "Check weights by the published answers to known pictures")
    verify.add_argument("pictures", metavar="PICTURE", nargs="+", type=Path, help="files or folders")
    verify.add_argument("--weights", metavar="W", help=WEIGHTS)

    verify.add_argument("--architecture", metavar="NAME", help="the network of weights that do not say")

    diff = command("diff", "Compare two checkpoints, or two architectures, layer by layer")
    diff.set_defaults(trouble=2)  # 1 says that they differ, as in diff(1).
    diff.add_argument("a", metavar="A", help="an architecture, known weights or a file")
    diff.add_argument("b", metavar="B", help="the same")
    diff.add_argument("--architecture", metavar="NAME", help="the network of files that do not say")
    diff.add_argument(
        "--weights", action="store_true", help="names are weights, also where they are architectures too"
    )

    train = command("train", "Train on your own pictures, restartable at any moment")
    train.formatter_class, train.epilog = argparse.RawDescriptionHelpFormatter, RECIPES
    train.add_argument(
        "data",
        metavar="DATA",
        help="a folder for each class, or of such folders train and val, or of lists train.txt and val.txt; an .npz; "
        "or mnist, fashion_mnist, cifar10, cifar100. What is in val, valid, validation or test (an .npz: x_test) "
        "validates; else a tenth of each class",
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
    train.add_argument("--learning-rate", type=above_zero, metavar="E", help="default: the recipe's")
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
        type=above_zero,
        default=5.0,
        metavar="M",
        help="also after each epoch (default: %(default)s)",
    )

    command("list", "List architectures and weights, with source and accuracy")
    arguments, unknown = parser.parse_known_args()
    if unknown:  # With the usage of the command that was meant.
        commands.choices[arguments.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return arguments


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, received {text!r}")
    return int(text)


def above_zero(text: str) -> float:
    """A finite number above 0."""
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

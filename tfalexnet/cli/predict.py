"""The command `tfalexnet predict`."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tfalexnet.cli import options
from tfalexnet.io.terminal import bar_character, escape, explain_os_error, print_error, print_text

if TYPE_CHECKING:
    from tfalexnet.inference.predict import Prediction

COMPILE_ABOVE = 100  # For fewer photos, compiling the network takes longer than it saves.
BAR_WIDTH = 20
STANDARD_INPUT = "-"


@click.command
@click.argument(
    "photos",
    metavar="PHOTO...",
    nargs=-1,
    type=options.NAME_OR_PATH,
    help="Files, folders, quoted patterns; - is the content of a file on standard input.",
)
@options.file_option("--files-from", "Read the names of photos from FILE too, one on each line; - is standard input.")
@options.weights_option
@options.precision_option
@options.engine_option
@click.option("--top", type=options.POSITIVE, default=5, metavar="N", help="Number of classes.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each photo.")
@click.option(
    "--output",
    type=options.PATH,
    metavar="FILE",
    help="Write a row for each photo to a .jsonl, .csv or .parquet file. The same command resumes an interrupted run.",
)
@click.option(
    "--quote-formulas", is_flag=True, help="In a .csv, put an apostrophe before names that a spreadsheet would run."
)
@options.max_pixels_option
@options.overwrite_option
@click.pass_obj
def command(
    command_line: str,
    photos: tuple[str, ...],
    files_from: Path | None,
    weights: str | None,
    precision: str,
    engine: str,
    top: int,
    as_json: bool,
    output: Path | None,
    quote_formulas: bool,
    max_pixels: int,
    overwrite: bool,
) -> int:
    """Print the best classes of photos."""
    if not photos and not files_from:
        raise click.UsageError("Missing argument 'PHOTO...'.")
    if STANDARD_INPUT in photos and (output or str(files_from) == STANDARD_INPUT):
        raise ValueError("Expected one photo on standard input (-) without --output and without --files-from -")
    if files_from:
        photos += _read_names(files_from)
    from tfalexnet.hub.cache import default_weights
    from tfalexnet.inference.label import label

    if weights is None:
        print_error(f"weights: {default_weights()}")
    if (overwrite or quote_formulas) and not output:
        raise ValueError(f"{'--overwrite' if overwrite else '--quote-formulas'} requires --output")
    if not output:
        return _print_predictions(photos, weights, top, precision, as_json, max_pixels, engine)
    if as_json:
        raise ValueError("Expected --json for the terminal, or --output FILE.jsonl. Received: both")
    try:
        report = label(photos, output, weights, top, precision, overwrite, max_pixels, quote_formulas, engine)
    except KeyboardInterrupt:
        print_error(f"interrupted; finished rows are saved. To resume: {command_line}")
        return 130
    reasons = ", with the reasons in `error`" if report.unreadable else ""
    print_text(f"{report.files} files, {report.unreadable} of them unreadable{reasons}: {output}")
    return 1 if report.unreadable else 0


def _read_names(path: Path) -> tuple[str, ...]:
    """Return the lines of a file, or of standard input, that are not empty; names need not be valid UTF-8."""
    content = sys.stdin.buffer.read() if str(path) == STANDARD_INPUT else path.read_bytes()
    names = [os.fsdecode(line.rstrip(b"\r")) for line in content.split(b"\n")]
    if not any(names):
        raise ValueError(f"{path}: expected the name of a photo on each line; received none")
    return tuple(name for name in names if name)


def _print_predictions(
    sources: tuple[str, ...], weights: str | None, top: int, precision: str, as_json: bool, max_pixels: int, engine: str
) -> int:
    """Print the predictions for each photo; return 1 if a source or a photo cannot be read, else 0."""
    from tfalexnet.images.opening import MAX_BYTES, PictureError
    from tfalexnet.inference.label import expand_sources, label_row
    from tfalexnet.inference.predict import iter_predictions

    photos, failed = [], False
    for source in sources:
        if source == STANDARD_INPUT:
            photos.append(source)
            continue
        try:
            photos += expand_sources(source)
        except FileNotFoundError:
            photos.append(source)  # Reported in its turn, when it is opened.
        except (ValueError, OSError) as error:
            failed = True
            print_error(explain_os_error(error))
    # Photos of which none is there are reported before weights are downloaded or loaded.
    if not any(photo == STANDARD_INPUT or Path(photo).exists() for photo in photos):
        for photo in photos:
            print_error(f"{photo}: no such file or directory")
        return 1
    compiled = len(photos) > COMPILE_ABOVE
    pictures = (sys.stdin.buffer.read(MAX_BYTES + 1) if photo == STANDARD_INPUT else photo for photo in photos)
    predictions = iter_predictions(pictures, weights, top, precision, compiled, max_pixels, engine)
    for photo, result in zip(photos, predictions, strict=True):
        if isinstance(result, PictureError):
            failed = True
            print_error(str(result))
        elif as_json:
            # Characters that another encoding lacks are escaped as JSON requires, not as the terminal does.
            unicode = sys.stdout.encoding.lower().startswith("utf")
            print(json.dumps(label_row(photo, result), ensure_ascii=not unicode))
        else:
            print_text("\n".join([escape(photo), *map(_format_prediction, result)]))
    return int(failed)


def _format_prediction(prediction: "Prediction") -> str:
    """Return a prediction as a line: probability, bar, index, WordNet id if there is one, label."""
    bar = bar_character() * round(BAR_WIDTH * prediction.score)
    wnid = f"  {prediction.wnid}" if prediction.wnid else ""
    return f"  {prediction.score:6.1%} {bar:<{BAR_WIDTH}} {prediction.index:>4}{wnid}  {prediction.label}"

"""The command `tfalexnet evaluate`."""

from pathlib import Path
from typing import Any

import click

from tfalexnet.cli import options
from tfalexnet.io.terminal import print_error, print_text


@click.command
@click.argument(
    "folder",
    metavar="DIR",
    type=options.PATH,
    help="One folder per class, or all pictures in one folder (see --truth).",
)
@options.weights_option
@options.precision_option
@options.engine_option
@click.option("--crops", type=click.Choice((1, 10)), default=1, help="The centre, or the paper's ten crops.")
@options.batch_option("Pictures, or crops with --crops 10, per step.")
@options.file_option("--truth", "Ground truth, if there are no class folders.")
@click.option(
    "--truth-ids",
    "ids",
    type=click.Choice(("sorted", "ilsvrc")),
    help="Numbering of classes in the ground truth: sorted WordNet ids from 0, or the devkit's ids from 1. "
    "[default: detected from pictures whose class is known]",
)
@options.file_option(
    "--output", "The report. The same command resumes an interrupted evaluation.", default=Path("evaluation.json")
)
@options.max_pixels_option
@options.overwrite_option
def command(**arguments: Any) -> int:
    """Measure top-1 and top-5 error on labelled pictures."""
    from tfalexnet.evaluation.evaluate import evaluate
    from tfalexnet.evaluation.report import report_table

    report = evaluate(**arguments)
    for unreadable in report["unreadable"]:
        print_error(f"{unreadable['file']}: {unreadable['reason']}")
    print_text(report_table(report))
    print_text(f"Full report: {arguments['output']}")
    return 1 if report["unreadable"] else 0

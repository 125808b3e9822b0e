"""The command `tfalexnet verify`."""

from pathlib import Path

import click

from tfalexnet.cli.options import PATH, architecture_option, weights_option
from tfalexnet.io.terminal import print_text


@click.command
@click.argument("pictures", metavar="PICTURE...", nargs=-1, required=True, type=PATH, help="Files or folders.")
@weights_option
@architecture_option
def command(pictures: tuple[Path, ...], weights: str | None, architecture: str | None) -> int:
    """Check weights against published outputs for known pictures."""
    from tfalexnet.tools.verification import report_table
    from tfalexnet.tools.verify import verify

    report = verify(pictures, weights, architecture)
    print_text(report_table(report))
    return 0 if report.passed else 1

"""The command `tfalexnet info`."""

import click

from tfalexnet.cli.options import architecture_option, model_argument
from tfalexnet.io.terminal import print_text


@click.command
@model_argument
@architecture_option
def command(weights: str, architecture: str | None) -> int:
    """Show the contents of a checkpoint."""
    from tfalexnet.tools.convert import describe_checkpoint

    print_text(describe_checkpoint(weights, architecture))
    return 0

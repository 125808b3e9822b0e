"""The command `tfalexnet info`."""

import click

from tfalexnet.cli.options import architecture_option, model_argument


@click.command
@model_argument
@architecture_option
def command(weights: str, architecture: str | None) -> int:
    """Show the contents of a checkpoint."""
    from tfalexnet.tools.convert import describe_checkpoint

    print(describe_checkpoint(weights, architecture))
    return 0

"""The command `tfalexnet info`."""

import click

from tfalexnet.cli.options import NAME_OR_PATH


@click.command
@click.argument(
    "file", metavar="FILE", type=NAME_OR_PATH, help="A file in any format, or the name of published weights."
)
@click.option("--architecture", metavar="NAME", help="Architecture of a file that does not state one.")
def command(file: str, architecture: str | None) -> int:
    """Show the contents of a checkpoint."""
    from tfalexnet.tools.convert import describe_checkpoint

    print(describe_checkpoint(file, architecture))
    return 0

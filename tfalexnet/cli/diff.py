"""The command `tfalexnet diff`."""

import click

from tfalexnet.cli.options import NAME_OR_PATH, architecture_option
from tfalexnet.io.terminal import print_text


class DiffCommand(click.Command):
    """A command whose exit status for errors is 2, because 1 means that the two differ, as in diff(1)."""

    error_status = 2


@click.command(cls=DiffCommand)
@click.argument("a", metavar="A", type=NAME_OR_PATH, help="Name of an architecture or of published weights, or a file.")
@click.argument("b", metavar="B", type=NAME_OR_PATH, help="The same.")
@architecture_option
@click.option("--weights", is_flag=True, help="Read names as weights, also those that are architectures too.")
def command(a: str, b: str, architecture: str | None, weights: bool) -> int:
    """Compare two checkpoints, or two architectures, layer by layer."""
    from tfalexnet.tools.compare import comparison_table, diff

    comparison = diff(a, b, architecture, weights)
    print_text(comparison_table(comparison))
    return 0 if comparison.same else 1

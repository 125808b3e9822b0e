"""The command `tfalexnet list`."""

import click

from tfalexnet.io.terminal import print_text


@click.command("list")
def command() -> int:
    """List architectures and weights, with source and accuracy."""
    from tfalexnet.hub.cache import weights_table
    from tfalexnet.networks.catalog import architectures_table

    print_text(f"Architectures\n{architectures_table()}\n\nWeights\n{weights_table()}")
    return 0

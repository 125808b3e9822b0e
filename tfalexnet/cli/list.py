"""The command `tfalexnet list`."""

import click


@click.command("list")
def command() -> int:
    """List architectures and weights, with source and accuracy."""
    from tfalexnet.hub.cache import weights_table
    from tfalexnet.networks.catalog import architectures_table

    print(f"Architectures\n{architectures_table()}\n\nWeights\n{weights_table()}")
    return 0

"""The command `tfalexnet list`."""

import click

from tfalexnet.io.terminal import print_text


@click.command("list")
@click.option("--check", is_flag=True, help="Ask each address whether it still has its file; nothing is downloaded.")
def command(check: bool) -> int:
    """List architectures and weights, with source and accuracy."""
    if check:
        from tfalexnet.hub.addresses import addresses_table, check_addresses, missing_names

        addresses = check_addresses()
        print_text(addresses_table(addresses))
        return 1 if missing_names(addresses) else 0
    from tfalexnet.hub.cache import weights_table
    from tfalexnet.networks.catalog import architectures_table

    print_text(f"Architectures\n{architectures_table()}\n\nWeights\n{weights_table()}")
    return 0

"""The command `tfalexnet demo`."""

import sys
import threading

import click

from tfalexnet.cli.options import NAME_OR_PATH, engine_option, weights_option
from tfalexnet.io.terminal import print_text


@click.command
@weights_option
@click.option("--compare", type=NAME_OR_PATH, metavar="W", help="Other weights, shown beside the first.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of this machine. [default: first free from 7860]")
@click.option("--share", is_flag=True, help="Give the page a public address, through Gradio's servers.")
@engine_option
def command(weights: str | None, compare: str | None, port: int | None, share: bool, engine: str) -> int:
    """Serve a page on this machine that shows answers to photos."""
    from tfalexnet.demo.server import serving

    try:
        with serving(weights, compare, port, share, engine) as address:
            print_text(address)
            sys.stdout.flush()  # A pipe is read while the page is served.
            threading.Event().wait()
    except KeyboardInterrupt:  # The way to end it.
        return 0
    return 0

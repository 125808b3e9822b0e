"""The command `tfalexnet`: the group of commands, error messages and exit statuses."""

import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from tfalexnet import __version__
from tfalexnet.io.terminal import discard_output, explain_os_error, print_error, silence_libraries

PROGRAM = "tfalexnet"
COMMANDS = (  # In the order of the help; each is a module of this package with the object `command`.
    "predict",
    "convert",
    "info",
    "compress",
    "export",
    "features",
    "figure",
    "demo",
    "evaluate",
    "verify",
    "diff",
    "train",
    "list",
)
COMPLETION = "_TFALEXNET_COMPLETE"  # Set by the shell when it asks for completions.
INTERRUPTED = 130  # 128 + SIGINT, as shells report it.


class CommandGroup(click.Group):
    """The commands in `COMMANDS`; the module `tfalexnet.cli.<name>` is imported when its command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return import_module(f"tfalexnet.cli.{cmd_name}").command if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)


cli = CommandGroup(
    PROGRAM,
    help="AlexNet exactly as published: label photos; convert, check and study weights.",
    epilog=f'\b\nShell completion: eval "$({COMPLETION}=bash_source {PROGRAM})", or zsh_source',
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
click.version_option(__version__, "-V", "--version", prog_name=PROGRAM, message="%(prog)s %(version)s")(cli)


def main() -> None:
    """Set up the process, run the command line in `sys.argv` and exit with its status."""
    if os.environ.get(COMPLETION):
        cli.main(prog_name=PROGRAM)  # Prints the completions and exits.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    sys.stdout.reconfigure(errors="backslashreplace")  # For file names that the terminal cannot encode.
    silence_libraries()
    warnings.showwarning = print_note
    sys.exit(run(sys.argv[1:]))


def print_note(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Print a warning as a note, except for those that other packages address to their developers."""
    if not issubclass(category, DeprecationWarning | FutureWarning | PendingDeprecationWarning):
        print_error(f"note: {message}")


def run(arguments: Sequence[str]) -> int:
    """Run a command in this process and return its exit status.

    Errors that the user can correct (ValueError, OSError) become one line on stderr; any other exception is a
    bug and is raised.

    Args:
        arguments: the command line without the program's name.
    """
    context = click.Context(cli)
    try:
        with cli.make_context(PROGRAM, list(arguments), obj=shlex.join([PROGRAM, *arguments])) as context:
            return cli.invoke(context)
    except click.exceptions.Exit as request:  # Of --help and --version.
        return request.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        discard_output()
        return _error_status(context)
    except (ValueError, OSError) as error:
        print_error(explain_os_error(error))
        return _error_status(context)
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED


def _error_status(context: click.Context) -> int:
    """Return the exit status of an error in the command that ran."""
    command = cli.get_command(context, context.invoked_subcommand or "")
    return getattr(command, "error_status", 1)


if __name__ == "__main__":
    main()

"""The `se-resnet` command.

A subcommand's module is imported only when the subcommand is called, so that `--help` is fast.
"""

import json
import os
import signal
import sys
from importlib import import_module
from types import FrameType

import click

from se_cli.subcommands import SUBCOMMANDS
from se_spec import __version__

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it: 128 + SIGINT."""


class LazyGroup(click.Group):
    """A group whose commands are in modules of `commands` of the same name, imported on demand."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in SUBCOMMANDS:
            return None
        # some libraries turn an interrupt during their import into another error
        previous = signal.signal(signal.SIGINT, _exit_at_once)
        try:
            command: click.Command = import_module(f"se_cli.commands.{name}").command
        finally:
            signal.signal(signal.SIGINT, previous)
        command.epilog = SUBCOMMANDS[name].epilog
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, subcommand.summary) for name, subcommand in SUBCOMMANDS.items()])


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    os.write(sys.stderr.fileno(), b"se-resnet: interrupted\n")
    os._exit(INTERRUPTED)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="se-resnet")
def main() -> None:
    """Convert SE-ResNet checkpoints among PyTorch, Keras and Flax, and prove that their outputs are unchanged.

    Exit status: 0 ok, 1 parity or comparison failed, 2 usage, 3 malformed input, 4 unsafe input, 5 unsupported format
    or missing extra, 6 input or output failed, 130 interrupted.
    """


def run() -> None:
    """Run the command as the console script does: every failure becomes one message on stderr and an exit status."""
    try:
        status = main(standalone_mode=False)  # click returns the status of context.exit()
        sys.stdout.flush()
        sys.exit(status)
    except click.UsageError as error:
        error.show()
        _print_error_as_json(error, error.format_message(), "usage", error.exit_code)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("se-resnet: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        from se_cli.statuses import reason_of, status_of  # imports se_weights, which --help must not wait for
        from se_weights.errors import escaped

        message, reason, status = str(error) or type(error).__name__, reason_of(error), status_of(error)
        lines = [escaped(line) for line in message.split("\n")]
        lines[0] += f" [{reason}]"
        click.echo("se-resnet: " + "\n".join(lines), err=True)
        _print_error_as_json(error, message, reason, status)
        sys.exit(status)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command is done; only the interpreter still has to exit


def _print_error_as_json(error: Exception, message: str, reason: str, status: int) -> None:
    if "--json" in sys.argv:
        failure = {"kind": type(error).__name__, "id": reason, "message": message, "status": status}
        click.echo(json.dumps({"schema": 1, "error": failure}))

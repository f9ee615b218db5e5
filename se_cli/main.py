"""The `se-resnet` command. A subcommand's module is imported when it is called, and nothing heavy for `--help`."""

import json
import os
import signal
import sys
from importlib import import_module
from types import FrameType

import click

from se_spec import __version__

INTERRUPTED = 130

COMMANDS = {
    "list": "Architectures, with their parameters and multiply-adds.",
    "inspect": "What a weights file holds: format, dialect, architecture, tensors, hashes.",
    "identify": "Find what a file's tensors do not tell, from a few outputs of the original code.",
    "convert": "Convert a weights file to the format that the target's suffix names.",
    "compare": "Whether two files hold the same weights, whatever their formats and dialects.",
    "verify": "Whether a file is still what was written, by its manifest.",
    "parity": "Run a network in every framework and judge the logits.",
    "demo": "Train, convert and evaluate on real images, end to end.",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of the same name, imported on demand."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        ordinary = signal.signal(signal.SIGINT, _leave)  # libraries make other errors of an interrupted import
        try:
            return import_module(f"se_cli.{name}").command
        finally:
            signal.signal(signal.SIGINT, ordinary)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(sys.stderr.fileno(), b"se-resnet: interrupted\n")
    os._exit(INTERRUPTED)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="se-resnet")
def main() -> None:
    """SE-ResNets in PyTorch, Keras and Flax: convert checkpoints, and prove that nothing changed.

    Exit status: 0 ok, 1 parity or comparison failed, 2 usage, 3 malformed input, 4 unsafe input, 5 unsupported format
    or missing extra, 6 input or output failed, 130 interrupted.
    """


def run() -> None:
    """The console script: turns every failure into one message on standard error and a status."""
    try:
        status = main(standalone_mode=False)  # click returns the status of context.exit()
        sys.stdout.flush()
        sys.exit(status)
    except click.UsageError as error:
        error.show()
        _say_as_json(error, error.format_message(), "usage", error.exit_code)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("se-resnet: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        from se_cli.statuses import reason_of, status_of  # reads se_weights, which --help must not wait for
        from se_weights.errors import escaped

        message, reason, status = str(error) or type(error).__name__, reason_of(error), status_of(error)
        lines = [escaped(line) for line in message.split("\n")]
        lines[0] += f" [{reason}]"
        click.echo("se-resnet: " + "\n".join(lines), err=True)
        _say_as_json(error, message, reason, status)
        sys.exit(status)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command is over, and only Python itself has still to end


def _say_as_json(error: Exception, message: str, reason: str, status: int) -> None:
    if "--json" in sys.argv:
        failure = {"kind": type(error).__name__, "id": reason, "message": message, "status": status}
        click.echo(json.dumps({"schema": 1, "error": failure}))

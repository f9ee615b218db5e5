"""What a command says: one JSON object on standard output, or tables for a person; progress on standard error.

rich draws tables and progress. It is imported where there is something to draw: quick commands do without.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from se_weights.errors import escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SCHEMA = 1

FILE_WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""


class Output:
    """The choice among `--json`, `--quiet` and neither, made once."""

    def __init__(self, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @contextmanager
    def working(self, step: str) -> Iterator[Callable[[str], None]]:
        """Shows that something goes on; what it gives is called with the name of each further step."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda step: None
            return
        with _console(stderr=True).status(step) as status:
            yield status.update

    @contextmanager
    def steps(self, total: int) -> Iterator[Callable[[str], None]]:
        """A progress bar of so many steps; what it gives is called with the name of each step as it begins."""
        from rich import progress

        columns = (
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.description}"),
        )
        with progress.Progress(*columns, console=_console(stderr=True, quiet=self.quiet)) as bar:
            task = bar.add_task("", total=total)
            yield lambda step: bar.update(task, description=step, advance=1)

    def result(self, result: dict[str, Any], *lines: "str | Table") -> None:
        """Say the result: the facts to a machine, or the lines to a person."""
        if self.as_json:
            click.echo(json.dumps({"schema": SCHEMA, **_finite(result)}, allow_nan=False))
        elif not self.quiet:
            for line in lines:
                click.echo(_shown(line)) if isinstance(line, str) else _console().print(line)


def _console(*, stderr: bool = False, quiet: bool = False) -> "Console":
    from rich.console import Console

    console = Console(highlight=False, markup=False, stderr=stderr, quiet=quiet)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    return console


def _finite(result: Any) -> Any:
    """JSON has no infinity and no NaN: what is not finite is null."""
    if isinstance(result, dict):
        return {key: _finite(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_finite(value) for value in result]
    return None if isinstance(result, float) and not isfinite(result) else result


def table(*columns: str, rows: Sequence[Sequence[str]], right: tuple[str, ...] = ()) -> "Table":
    """A table whose columns named in `right` hold numbers, folded to the width of the terminal."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def listing(*columns: str, rows: Sequence[Sequence[str]]) -> str:
    """Hundreds of rows, which rich would take half a second for, in columns as wide as they must be."""
    lines = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def definitions(rows: Sequence[tuple[str, str]]) -> str:
    """Words, each with what is said of it beside it."""
    formatter = click.HelpFormatter(width=click.HelpFormatter().width if sys.stdout.isatty() else FILE_WIDTH)
    formatter.write_dl(rows)
    return formatter.getvalue().rstrip("\n")


def _shown(text: str) -> str:
    return "\n".join(map(escaped, text.split("\n")))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())

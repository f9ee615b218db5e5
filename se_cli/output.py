"""Prints results: one JSON object on standard output, or text and tables; progress goes to standard error.

rich draws tables and progress. It is imported only where something is drawn, so that quick commands start fast.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from se_weights.errors import escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

SCHEMA = 1

FILE_WIDTH = 120
"""Width in columns of tables that are written to a file or a pipe."""


class Output:
    """Prints what a command reports, according to `--json` and `--quiet`.

    Args:
        as_json: Print the result as one JSON object instead of text.
        quiet: Print no text and no progress.
    """

    def __init__(self, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet

    @contextmanager
    def spinner(self, step: str) -> Iterator[Callable[[str], None]]:
        """Show a spinner on a terminal; yields a function that takes the name of each further step."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda step: None
            return
        with _console(stderr=True).status(step) as status:
            yield status.update

    @contextmanager
    def progress_bar(self, total: int) -> Iterator[Callable[[str], None]]:
        """Show a progress bar of `total` steps; yields a function to call with the name of each step as it begins.

        Where standard error is no terminal, each step is a line.
        """
        if not sys.stderr.isatty():
            numbers = count(1)
            yield lambda step: None if self.quiet else click.echo(f"{next(numbers)}/{total} {escaped(step)}", err=True)
            return
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

    def announce(self, text: str) -> None:
        """Say on standard error what will be done, unless `--quiet` is set."""
        if not self.quiet:
            click.echo(escaped(text), err=True)

    def show_result(self, result: dict[str, Any], *lines: "str | Table") -> None:
        """Print a result.

        Args:
            result: What `--json` prints, besides the schema number.
            lines: Text and tables that are printed without `--json`, unless `--quiet` is set.
        """
        if self.as_json:
            click.echo(json.dumps({"schema": SCHEMA, **_replace_non_finite(result)}, allow_nan=False))
        elif not self.quiet:
            for line in lines:
                click.echo(_escape_lines(line)) if isinstance(line, str) else _console().print(line)


def _console(*, stderr: bool = False, quiet: bool = False) -> "Console":
    from rich.console import Console

    console = Console(highlight=False, markup=False, stderr=stderr, quiet=quiet)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    return console


def _replace_non_finite(result: Any) -> Any:
    """The result with None for every infinity and NaN, which JSON does not have."""
    if isinstance(result, dict):
        return {key: _replace_non_finite(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_replace_non_finite(value) for value in result]
    return None if isinstance(result, float) and not isfinite(result) else result


def table(
    *columns: str, rows: Sequence[Sequence["str | Text"]], right: Sequence[str] = (), title: str | None = None
) -> "Table":
    """Make a table that is folded to the width of the terminal.

    Args:
        columns: The column headings.
        rows: One cell for each column in each row.
        right: The headings of the columns that are aligned to the right, because they hold numbers.
        title: A line above the table.
    """
    from rich.table import Table
    from rich.text import Text

    result = Table(
        title=Text(escaped(title)) if title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )
    for column in columns:
        result.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        result.add_row(*row)
    return result


def plain_table(*columns: str, rows: Sequence[Sequence[str]]) -> str:
    """A table as text, for hundreds of rows: rich takes half a second to draw that many."""
    lines = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def definition_list(rows: Sequence[tuple[str, str]]) -> str:
    """Terms in a left column and their definitions in a right column, as text."""
    formatter = click.HelpFormatter(width=click.HelpFormatter().width if sys.stdout.isatty() else FILE_WIDTH)
    formatter.write_dl(rows)
    return formatter.getvalue().rstrip("\n")


def _escape_lines(text: str) -> str:
    return "\n".join(map(escaped, text.split("\n")))


def size_in_bytes(path: Path) -> int:
    """Size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())

"""What a command says: one JSON object on standard output, or tables for a person; progress on standard error."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from se_weights.errors import escaped

SCHEMA = 1

FILE_WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""


class Output:
    """The choice among `--json`, `--quiet` and neither, made once."""

    def __init__(self, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.console = Console(highlight=False, markup=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = FILE_WIDTH
        self.progress_console = Console(stderr=True, quiet=quiet)

    @contextmanager
    def steps(self, total: int) -> Iterator[Callable[[str], None]]:
        """A progress bar of so many steps; what it gives is called with the name of each step as it begins."""
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=self.progress_console) as bar:
            task = bar.add_task("", total=total)
            yield lambda step: bar.update(task, description=step, advance=1)

    def result(self, facts: dict[str, Any], *lines: str | Table) -> None:
        """Say the result: the facts to a machine, or the lines to a person."""
        if self.as_json:
            click.echo(json.dumps({"schema": SCHEMA, **_finite(facts)}, allow_nan=False))
        elif not self.quiet:
            for line in lines:
                self.console.print(_shown(line) if isinstance(line, str) else line)


def _finite(facts: Any) -> Any:
    """JSON has no infinity and no NaN: what is not finite is null."""
    if isinstance(facts, dict):
        return {key: _finite(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [_finite(value) for value in facts]
    return None if isinstance(facts, float) and not isfinite(facts) else facts


def table(*columns: str, rows: Sequence[Sequence[str]], right: tuple[str, ...] = ()) -> Table:
    """A table whose columns named in `right` hold numbers."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def _shown(text: str) -> str:
    return "\n".join(map(escaped, text.split("\n")))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())

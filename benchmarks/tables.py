"""Markdown tables, and matplotlib without a display."""

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdict(met: bool) -> str:
    """How a table shows whether a target is met."""
    return "met" if met else "**not met**"


def pyplot() -> Any:
    """matplotlib.pyplot with the SVG backend."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    return pyplot

"""The style of the pages' figures, with one color and one kind of line for each framework."""

import re
from collections.abc import Callable, Mapping
from html import escape
from io import StringIO
from typing import Generic, NamedTuple, TypeVar

import matplotlib
from matplotlib.figure import Figure

from se_parity.report.palette import LIGHT

Content = TypeVar("Content")

LINES = {"torch": "solid", "tf": "dashed", "flax": (0, (1, 1))}
"""The line of each framework, for readers who do not see its color."""

STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "se-resnet",
    "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), LIGHT["text"]),
}

NAMES = {color: name for name, color in LIGHT.items()}


class Plot(NamedTuple, Generic[Content]):
    """A figure of some content.

    Attributes:
        draw: makes the figure.
        description: what it shows, for readers who do not see it.
    """

    draw: Callable[[Content], Figure]
    description: str


def render_figures(plots: Mapping[str, Plot[Content]], content: Content) -> dict[str, str]:
    """Plot the same content in several ways.

    Args:
        plots: the plots by name.
        content: what they plot.

    Returns:
        The figures as SVG text, by name. Colors of the palette are variables, which have other values on a dark page.
    """
    with matplotlib.rc_context(STYLE):
        return {name: _svg(plot.draw(content), plot.description) for name, plot in plots.items()}


def _svg(figure: Figure, description: str) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    described = svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)
    return re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda color: _variable(color.group()), described)


def _variable(color: str) -> str:
    return f"var(--{NAMES[color]})" if color in NAMES else color

"""The style of the reports' figures, with one colour for each framework."""

from collections.abc import Callable, Mapping
from io import StringIO
from typing import TypeVar

import matplotlib
from matplotlib.figure import Figure

Content = TypeVar("Content")

COLOURS = {"torch": "#d1495b", "tf": "#b8860b", "flax": "#00798c"}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "se-resnet",
}


def render_figures(plots: Mapping[str, Callable[[Content], Figure]], content: Content) -> dict[str, str]:
    """Plot the same content in several ways.

    Args:
        plots: functions that make a figure of the content, by name.
        content: what they plot.

    Returns:
        The figures as SVG text, by name.
    """
    with matplotlib.rc_context(STYLE):
        return {name: _svg(plot(content)) for name, plot in plots.items()}


def _svg(figure: Figure) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]

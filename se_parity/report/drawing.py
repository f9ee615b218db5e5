"""How the reports draw: one style, and one colour a framework."""

from collections.abc import Callable, Mapping
from io import StringIO
from typing import TypeVar

import matplotlib
from matplotlib.figure import Figure

Subject = TypeVar("Subject")

COLOURS = {"torch": "#d1495b", "tf": "#b8860b", "flax": "#00798c"}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "se-resnet",
}


def drawn(pictures: Mapping[str, Callable[[Subject], Figure]], subject: Subject) -> dict[str, str]:
    """Every picture of a subject by its name, as SVG text."""
    with matplotlib.rc_context(STYLE):
        return {name: _svg(draw(subject)) for name, draw in pictures.items()}


def _svg(figure: Figure) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]

"""The colors of the reports, of their figures and of the documentation site, in light and in dark."""

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "text": "#1c1e21",
    "quiet": "#5a6069",
    "background": "#ffffff",
    "surface": "#f3f4f6",
    "line": "#d5d8dc",
    "accent": "#0b5cad",
    "good": "#dcefe8",
    "near": "#fbeec4",
    "bad": "#f9d6da",
    "passed": "#00654f",
    "failed": "#a8001f",
    "torch": "#c2410c",
    "tf": "#8a6100",
    "flax": "#00678a",
}
DARK: Mapping[str, str] = {
    "text": "#e6e6e6",
    "quiet": "#a3a9b3",
    "background": "#131416",
    "surface": "#202327",
    "line": "#3a3f45",
    "accent": "#7db4e8",
    "good": "#123a30",
    "near": "#47390b",
    "bad": "#5a1822",
    "passed": "#5fd0b0",
    "failed": "#ff8a95",
    "torch": "#ff8f5a",
    "tf": "#e2b340",
    "flax": "#6cc5e0",
}
"""A color stands for one name only, by which figures find its value on a dark page. Text has a contrast of at least 4.5
to 1 with its background. Figures also tell frameworks apart by their lines."""

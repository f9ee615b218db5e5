"""Writes the report of the demo: one self-contained HTML page, and the same numbers as JSON."""

import json
from pathlib import Path

from se_demo.plots import draw_plots
from se_demo.run import Demo
from se_parity.report.rendering import render_page
from se_parity.run.client import DISPLAY_NAMES


def write_report(demo: Demo, folder: Path) -> Path:
    """Write `report.json` and `report.html` to a folder.

    Args:
        demo: The results to report.
        folder: An existing folder.

    Returns:
        The path of `report.html`.
    """
    (folder / "report.json").write_text(json.dumps(demo.to_dict(), indent=2) + "\n")
    page = folder / "report.html"
    page.write_text(
        render_page(
            "se_demo",
            "report.html.j2",
            demo=demo,
            plots=draw_plots(demo),
            conversions={conversion.file: conversion for conversion in demo.conversions},
            frameworks=DISPLAY_NAMES,
        )
    )
    return page

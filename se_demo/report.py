"""The demo's report: one page that needs no other file, and the same numbers as JSON."""

import json
from pathlib import Path

import jinja2

from se_demo.pictures import pictures
from se_demo.run import Demo, facts
from se_parity.run.client import DISPLAY_NAMES
from se_spec import __version__


def write_report(demo: Demo, folder: Path) -> Path:
    """Write `report.json` and `report.html`; the page's path is returned."""
    (folder / "report.json").write_text(json.dumps(facts(demo), indent=2) + "\n")
    loader = jinja2.PackageLoader("se_demo", "")
    template = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined).get_template("report.html.j2")
    page = folder / "report.html"
    page.write_text(
        template.render(
            demo=demo,
            pictures=pictures(demo),
            conversions={conversion.file: conversion for conversion in demo.conversions},
            frameworks=DISPLAY_NAMES,
            version=__version__,
        )
    )
    return page

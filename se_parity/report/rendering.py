"""Renders the HTML pages: one file each, with the style that they share and their figures inside."""

from typing import Any

from se_parity.report.palette import DARK, LIGHT
from se_spec import __version__
from se_weights import MissingExtra


def render_page(package: str, template: str, **content: Any) -> str:
    """The HTML of a page.

    Args:
        package: The package that has the template.
        template: The name of the template, which extends `base.html.j2` of this package.
        **content: What the template shows.

    Returns:
        The text of the page, which needs no other file.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise MissingExtra("HTML pages need jinja2", "report") from error
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(name, "") for name in (package, "se_parity.report")])
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=True)
    return environment.get_template(template).render(light=LIGHT, dark=DARK, version=__version__, **content)

"""Configuration of the documentation site, which `make docs` builds in `build/docs/html`."""

import os
from collections.abc import Mapping

from se_parity.report.palette import DARK, LIGHT
from se_spec import __version__

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}

project = "se-resnet"
author = "The se-resnet maintainers"
project_copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_llms_txt",
]

# Docstrings are read on GitHub and in editors, too, and put code into single backticks.
default_role = "code"
napoleon_numpy_docstring = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
python_maximum_signature_line_length = 100

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_output_stderr = "remove"

linkcheck_ignore = [r"https?://"]  # the machines that build this site see no network


def furo_variables(palette: Mapping[str, str]) -> dict[str, str]:
    """The variables of the theme Furo that stand for colors of a palette."""
    return {
        "color-foreground-primary": palette["text"],
        "color-foreground-secondary": palette["quiet"],
        "color-background-primary": palette["background"],
        "color-background-secondary": palette["surface"],
        "color-background-border": palette["line"],
        "color-brand-primary": palette["accent"],
        "color-brand-content": palette["accent"],
        "font-stack": "system-ui, sans-serif",
    }


html_theme = "furo"
html_title = f"se-resnet {__version__}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_theme_options = {
    "light_css_variables": furo_variables(LIGHT),
    "dark_css_variables": furo_variables(DARK),
}
html_show_sourcelink = False
copybutton_prompt_text = "$ "
llms_txt_summary = "Squeeze-and-Excitation networks in PyTorch, Keras 3 and Flax NNX with one weight-conversion layer."

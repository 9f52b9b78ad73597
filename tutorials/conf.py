"""The documentation: ``sphinx-build -W --keep-going -b html tutorials .docs/html``."""

import inspect
from importlib import import_module

from sphinx.util.docutils import SphinxDirective

import topox_difflift

project = "topox-difflift"
author = "The topox-difflift authors"
copyright = author  # noqa: A001 -- Sphinx's name
release = version = topox_difflift.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
]
exclude_patterns = [".ipynb_checkpoints"]

# Notebooks are stored with their outputs; the tests execute them.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Types stand in the docstrings, and `PublicNames` lists what is public.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = project
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "footer_end": []}


class PublicNames(SphinxDirective):
    """Document a module: a table of the names in its ``__all__``, then each of them."""

    required_arguments = 1

    def run(self):
        """Write it down as the directives of Sphinx that do so."""
        module = import_module(self.arguments[0])
        lines = [module.__name__, "-" * len(module.__name__), ""]
        lines += [f".. automodule:: {module.__name__}", "   :no-members:", ""]
        lines += [".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   {name}" for name in module.__all__] + [""]
        for name in module.__all__:
            lines += _documented(module, name)
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _documented(module, name):
    value = getattr(module, name)
    if inspect.isclass(value):
        kind, option = "autoclass", ":members:"
    elif inspect.isroutine(value):
        kind, option = "autofunction", ""
    else:
        kind, option = "autodata", ":no-value:"
    return [f".. {kind}:: {module.__name__}.{name}", f"   {option}", ""]


def setup(app):
    """Register the directive."""
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True}

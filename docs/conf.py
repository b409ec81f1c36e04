"""How Sphinx builds these pages: ``make docs``."""

import sys
import tomllib
from pathlib import Path
from typing import Any

from docutils import nodes

sys.path.insert(0, str(Path(__file__).parent))

import diagrams
import generate

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

generate.write_pages()

project = "ledger"
release = version = _PROJECT["version"]
extensions = ["myst_parser"]
exclude_patterns = ["_build", "_static"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

smartquotes = False

html_theme = "furo"
html_title = f"ledger {release}"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["ledger.css"]
html_theme_options = {"top_of_page_buttons": []}

man_pages = [(f"_generated/{page.name}", page.name, page.summary, "", 1) for page in generate.command_pages()]
man_make_section_directory = True


def _without_links(app: Any, tree: nodes.document, page: str) -> None:
    """Leave the text of links alone in manual pages: there is nothing to click on, and no address to show."""
    if app.builder.name == "man":
        for link in list(tree.findall(nodes.reference)):
            link.replace_self(link.children)


def setup(app: Any) -> None:
    """Register with Sphinx what these pages need."""
    app.add_directive("mermaid", diagrams.Mermaid)
    app.connect("doctree-resolved", _without_links)

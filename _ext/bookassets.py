"""Sphinx extension: the scripts that the pages need are copied next to them once, and shared.

No page asks the network for anything, so the book reads the same from a disk, from a server, and in ten years.
"""

import shutil
from pathlib import Path
from typing import Any

import mathjax  # django-static-mathjax: MathJax as files
import plotly
from sphinx.application import Sphinx

ASSETS = Path(__file__).resolve().parent / "assets"
MATHJAX = "mathjax/tex-svg-full.js"  # "full": all TeX extensions in the one file, none fetched later
# Name below `_static/vendor` -> the file. Not in a `_static` source folder: Jupyter Book would put every script that it
# finds there on every page.
FILES = {
    MATHJAX: Path(mathjax.__file__).parent / "static/mathjax/es5/tex-svg-full.js",
    "plotly.min.js": Path(plotly.__file__).parent / "package_data/plotly.min.js",
    "plotly-theme.js": ASSETS / "plotly-theme.js",
    "plotly-controls.js": ASSETS / "plotly-controls.js",
    "plotly-alt.js": ASSETS / "plotly-alt.js",
    "plotly-data.js": ASSETS / "plotly-data.js",
    "plotly-views.js": ASSETS / "plotly-views.js",
    "plotly-draw.js": ASSETS / "plotly-draw.js",
    "claims.js": ASSETS / "claims.js",
    "book.css": ASSETS / "book.css",
}
# In the order of loading.
PLOTLY = ("plotly.min.js", *(f"plotly-{part}.js" for part in ("theme", "controls", "alt", "data", "views", "draw")))


def without_thebe(app: Sphinx, *_: Any) -> None:
    """Jupyter Book always loads sphinx-thebe, which adds a CDN address and a Binder configuration to every page."""
    for listeners in app.events.listeners.values():
        listeners[:] = [one for one in listeners if not one.handler.__module__.startswith("sphinx_thebe")]
    styles = app.registry.css_files
    styles[:] = [(name, attributes) for name, attributes in styles if name != "sphinx-thebe.css"]


def launch_where_deployed(app: Sphinx, config: Any) -> None:
    """Leave links that open a chapter elsewhere only to deployed pages, and only where a repository has the chapter."""
    if not (config.html_baseurl and config.html_theme_options.get("repository_url")):
        config.html_theme_options.pop("launch_buttons", None)


def told_where(body: str, pagename: str, baseurl: str) -> str:
    """Fill in a page's name and address where its citations of figures leave room for them."""
    name = pagename.rpartition("/")[2]
    address = f"{baseurl.rstrip('/')}/{pagename}.html" if baseurl else f"{name}.html"
    filled = body.replace('<span class="page-address"></span>', address)
    return filled.replace('<span class="page-name"></span>', name)


def page_assets(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    app.add_css_file("vendor/book.css")
    if "body" in context:
        context["body"] = told_where(context["body"], pagename, app.config.html_baseurl)
    # deferred: the text can be read before megabytes of plotly.js are; claims.js hears of its figure when it is drawn
    if 'class="verdicts claims"' in context.get("body", ""):
        app.add_js_file("vendor/claims.js", priority=800, defer="defer")
    if "plotly-graph-div" in context.get("body", ""):
        for name in PLOTLY:
            app.add_js_file(f"vendor/{name}", priority=800, defer="defer")


def copy_files(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.format != "html":
        return
    for name, path in FILES.items():
        target = Path(app.outdir) / "_static/vendor" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", without_thebe)
    app.connect("config-inited", launch_where_deployed)
    app.connect("html-page-context", page_assets, priority=900)
    app.connect("build-finished", copy_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

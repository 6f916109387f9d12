"""Settings of the web site, which `make site` builds offline from stored outputs.

Sphinx with myst-nb and the book theme, because it needs no node, shows notebooks with the outputs
that they have (nothing is executed here), and makes pages of docstrings whose names are links.
`build.py` first lays out the sources: it copies what the repository has anyway (`pages.py`), and
makes pages of the ledger, the figures and the rooms. Pages open by file:// and load nothing from
elsewhere: equations are MathML (`mathml.py`), scripts and fonts are the theme's own.
"""

from pathlib import Path

from maclcore.version import __version__

HERE = Path(__file__).resolve().parent

project, author, copyright = "maclcore", "the maclcore developers", "the maclcore developers"
version = release = __version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "docstrings", "sphinx.ext.napoleon", "mathml"]
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # else from another host
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
# a notebook's headings begin where its sections do; colour codes of a terminal are no lexer's
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "ref.python"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries = False

html_theme = "sphinx_book_theme"
html_title = "maclcore"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_js_files = [("sort.js", {"defer": "defer"}), ("turn.js", {"defer": "defer"})]
html_math_renderer = "mathml"
html_context = {"default_mode": "auto"}
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "max_navbar_depth": 1,
}

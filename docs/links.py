"""Links of the repository's texts, as links between the pages of the site."""

import posixpath
import re
from urllib.parse import unquote

from maclcore import paths

#: code, which has no links, or a link or picture: its mark, words and target
LINK = re.compile(
    r"```.*?```|`[^`\n]*`"
    r"|(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]*(?:\([^()]*\)[^()\s]*)*)\)",
    re.DOTALL,
)
HREF = re.compile(r'(<a [^>]*?href=")([^":#]*\.ipynb)?(?:#([^"]*))?"')
#: files of the repository that are pages
PAGES = {
    "README.md": "guide.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LOG.md": "log.md",
    "results/claims.csv": "ledger.md",
    "figures": "figures.md",
}


def anchor(text: str) -> str:
    """That of a heading, as the site has it, from that which JupyterLab gives it."""
    return re.sub(r"[^\w\- ]", "", unquote(text).lower()).replace(" ", "-")


def linked(text: str, folder: str = "") -> str:
    """Markdown of a file in `folder` of the repository, with links to pages of the site.

    What the site does not have is no link: an address within the repository would be none here.
    """

    def link(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        if target is None:
            return match[0]
        path, _, fragment = target.partition("#")
        if "://" in target or not (path or fragment):
            return match[0]
        if not path:
            return f"{picture}[{words}](#{anchor(fragment)})"
        path = posixpath.normpath(posixpath.join(folder, path)).rstrip("/")
        page = PAGES.get(path, path if path.startswith(("notebooks/", "figures/")) else "")
        if not page or not (paths.ROOT / path).exists():
            return words
        place = posixpath.relpath(page, folder or ".") + (
            f"#{anchor(fragment)}" if fragment else ""
        )
        return f"{picture}[{words}]({place})"

    return LINK.sub(link, text)


def linked_html(text: str) -> str:
    """HTML of a notebook's output, with links to the pages of notebooks."""

    def link(match: re.Match[str]) -> str:
        before, page, fragment = match.groups()
        place = (page or "").replace(".ipynb", ".html")
        return f'{before}{place}{"#" + anchor(fragment) if fragment else ""}"'

    return HREF.sub(link, text)

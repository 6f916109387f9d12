"""Docstrings, which are plain text with `code` in backticks, as the reStructuredText of a page.

A name in backticks that the pages describe is a link to it. What is laid out by hand, in columns or
set in, stays so; all other marks of reStructuredText mean nothing in a docstring.
"""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

CODE = re.compile(r"`([^`\n]+)`")
SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note):$")
BULLET, ITEM = re.compile(r"[-*] "), re.compile(r"[\w`][\w, `]{0,40}: \S")
NAME = re.compile(r"[A-Za-z_][\w.]*")
SPECIAL = re.compile(r"([*_|@\\])")


def readable(lines: list[str]) -> list[str]:
    """The lines of a docstring, or of a `#:` comment, as reStructuredText."""
    said: list[str] = []
    section = False
    for paragraph in paragraphs(lines):
        indented = paragraph[0].startswith("    ")
        section = bool(SECTION.match(paragraph[0])) or section and indented
        table = any(re.search(r"\S {3,}\S", line) for line in paragraph)
        if section:
            said += [*map(marked, paragraph), ""]
        elif table or indented:
            said += ["::", "", *(f"    {line}" for line in paragraph), ""]
        else:
            said += [*listed(paragraph), ""]
    return said


def paragraphs(lines: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    return [paragraph for paragraph in found if paragraph]


def listed(paragraph: list[str]) -> list[str]:
    """Text, and lists in it: lines that begin with a bullet; a list of lines `name: what it is`,
    each of which may go on, set in, below."""
    whole = ITEM.match(paragraph[0]) and all(
        ITEM.match(line) or line.startswith("  ") for line in paragraph
    )
    item = ITEM if whole and len(paragraph) > 1 else BULLET
    said: list[str] = []
    inside = False
    for line in paragraph:
        begins = bool(item.match(line)) and (inside or not said or said[-1].endswith(":"))
        ends = inside and not begins and not line.startswith("  ")
        if said and (ends or begins and not inside):
            said.append("")
        inside = begins or inside and not ends
        text = marked(BULLET.sub("", line) if begins else line.strip())
        text = re.sub(r"^([-+]|\d+\.) ", r"\\\1 ", text)  # such as a minus, and no list
        said.append(("- " if begins else "  " if inside else "") + text)
    return said


def marked(line: str) -> str:
    """A line whose backticks are links or literals, and whose other marks are none."""
    parts = CODE.split(line)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = SPECIAL.sub(r"\\\1", part).replace("`", r"\`")
        else:
            role = f":py:obj:`{part}`" if NAME.fullmatch(part) else f"``{part.strip()}``"
            # letters may stand beside it, as in "`Config`s"
            before = r"\ " if parts[i - 1][-1:].isalnum() else ""
            parts[i] = before + role + (r"\ " if parts[i + 1][:1].isalnum() else "")
    return "".join(parts)


def resolve(app: Sphinx, env: Any, node: Any, content: Any) -> Any:
    """A name of another module: that of the package's public ones, or the only one there is."""
    if node.get("reftype") != "obj":
        return None
    domain, name = env.domains["py"], node["reftarget"]
    found = [full for full in domain.objects if full == name or full.endswith(f".{name}")]
    public = [full for full in found if full == f"maclcore.{name}"]
    if len(public or found) != 1:
        return None
    (full,) = public or found
    entry = domain.objects[full]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, full)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = readable(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process, priority=400)  # before napoleon
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

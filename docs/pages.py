"""The pages of the site: texts of the repository, notebooks, ledger, figures, API."""

import pkgutil
import re
import shutil
from html import escape
from importlib import import_module
from pathlib import Path

import nbformat
import pandas as pd
from links import linked

import maclcore
from maclcore import paths
from maclcore.audit.claims import VERDICTS
from maclcore.plots.saving import runs_of
from maclcore.store import packed
from notebooks import staged

TEXTS = {"LOG.md": "log.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def lay_out(source: Path) -> None:
    """Write the sources of all pages into the folder `source`, which is made."""
    (source / "notebooks").mkdir(parents=True)
    (source / "pictures").mkdir()
    shutil.copytree(paths.ROOT / "figures", source / "figures", ignore=_private)
    # the README's title and first two parts are the first page, what was found first
    about, finding, *guide = re.split(r"^(?=## )", _text("README.md"), flags=re.MULTILINE)
    title, about = about.split("\n", 1)
    parts = {"%TITLE%": title, "%FINDING%": finding, "%ABOUT%": about}
    index = re.sub("|".join(parts), lambda found: parts[found[0]], _text("docs/index.md"))
    (source / "index.md").write_text(linked(index), encoding="utf-8")
    (source / "guide.md").write_text(linked("# Guide\n\n" + "".join(guide)), encoding="utf-8")
    for name, page in TEXTS.items():
        (source / page).write_text(linked(_text(name)), encoding="utf-8")
    for file in notebooks():
        nbformat.write(staged(file, source / "pictures"), source / "notebooks" / file.name)
    (source / "ledger.md").write_text(ledger(), encoding="utf-8")
    (source / "figures.md").write_text(figures(), encoding="utf-8")
    for name, text in api().items():
        (source / "api").mkdir(exist_ok=True)
        (source / "api" / f"{name}.rst").write_text(text, encoding="utf-8")


def _text(name: str) -> str:
    return (paths.ROOT / name).read_text(encoding="utf-8")


def _private(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "private"]


def notebooks() -> list[Path]:
    return sorted((paths.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


# --- The ledger ----------------------------------------------------------------------------------

LEDGER = """# The ledger

{count} claims of the papers, each with the rule's verdict on our evidence: {verdicts}.
Notebook [09](notebooks/09_audit.ipynb) says how verdicts are given; a head sorts the table.
A verdict holds for the setting that its row names.

```{{raw}} html
<table class="sortable ledger"><caption>Every claim of results/claims.csv.</caption>
<thead><tr><th scope="col">Place</th><th scope="col">Claim</th><th scope="col">Verdict</th></tr>
</thead>
<tbody>
{rows}
</tbody></table>
```
"""
CLAIM = """<tr id="{id}"><td>{place}</td>
<td>{claim}<details><summary>evidence</summary><dl>{facts}</dl></details></td>
<td data-order="{order}"><span class="verdict verdict-{order}">{verdict}</span></td></tr>"""


def ledger() -> str:
    table = pd.read_csv(paths.ROOT / "results" / "claims.csv", dtype=str, keep_default_na=False)
    counts = table["verdict"].value_counts().reindex(VERDICTS, fill_value=0)
    return LEDGER.format(
        count=len(table),
        verdicts=", ".join(f"{number} {verdict}" for verdict, number in counts.items()),
        rows="\n".join(_claim(dict(row)) for _, row in table.iterrows()),
    )


def _claim(row: dict[str, str]) -> str:
    told = {"printed": row["paper"], "ours": row["ours"], "why": row["why"]}
    told |= {"runs": ", ".join(row["runs"].split())}
    facts = "".join(
        f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in told.items() if text
    )
    shown = {name: escape(row[name]) for name in ("id", "place", "claim", "verdict")}
    return CLAIM.format(**shown, facts=facts, order=VERDICTS.index(row["verdict"]))


# --- Figures -------------------------------------------------------------------------------------

FIGURES = """# Figures

Every figure of record, `figures/`, with the notebook that draws it and the stored runs that this
had read by then: with no others can it be made. `make figures` draws all anew.
None shows images of a real archive but UC Merced's, which are in the public domain.
"""
FIGURE = """
```{{raw}} html
<figure class="record"><a href="figures/{name}">
<img src="figures/{name}" alt="{alt}" loading="lazy"></a>
<figcaption><code>{name}</code>: {runs}</figcaption></figure>
```
"""
COMMAND = "python -m maclcore notebooks --only {number}"


def figures() -> str:
    text = FIGURES
    files = sorted((paths.ROOT / "figures").glob("*.png"))
    for notebook in notebooks():
        own = [file for file in files if file.name[:2] == notebook.name[:2]]
        if own:
            command = COMMAND.format(number=notebook.name[:2])
            text += f"\n## {title(notebook)}\n\n"
            text += f"[Notebook {notebook.name[:2]}](notebooks/{notebook.name}), `{command}`\n"
        for file in own:
            alt = f"{file.stem}, a figure of the notebook {title(notebook)}"
            text += FIGURE.format(name=file.name, alt=escape(alt), runs=_runs(file))
    return text


def title(notebook: Path) -> str:
    first = nbformat.read(notebook, as_version=4).cells[0].source
    return first.split("\n")[0].removeprefix("# ")


def _runs(figure: Path) -> str:
    """The runs that a figure can show, by the pack that has them, in a fold."""
    found = runs_of(figure)
    if found is None:
        return "drawn before figures said which runs had been read"
    if not found:
        return "no stored run"
    holders = packed.holders(paths.ROOT / "results")
    places = {run: holders[run].file.stem if run in holders else "trained by 04" for run in found}
    counts = pd.Series(places.values()).value_counts(sort=False)
    told = ", ".join(f"{place} ({number})" for place, number in counts.items())
    ids = " ".join(map(escape, found))
    return f"<details><summary>runs of {told}</summary><code>{ids}</code></details>"


# --- The API -------------------------------------------------------------------------------------

#: modules that others import from, though their room does not list them
OTHERS = ("maclcore.data.sampler", "maclcore.training.distributed")
PUBLIC = """The API
=======

Public names are imported from ``maclcore``; each stage of the work is a room of the package, which
knows those before it alone.

.. toctree::
   :maxdepth: 1
   :caption: Rooms

   {rooms}

.. currentmodule:: maclcore

{names}
"""


def api() -> dict[str, str]:
    """reStructuredText of the public names and of each room, by the name of the page."""
    rooms = {"ground": []}
    for module in pkgutil.walk_packages(maclcore.__path__, "maclcore."):
        parts = module.name.split(".")[1:]
        private = any(part.startswith("_") for part in parts)
        if private or parts[0] in ("results", "commands"):  # `--help` has these
            continue
        room = parts[0] if len(parts) > 1 or module.ispkg else "ground"
        rooms.setdefault(room, []).append(module.name)
    shown = {id(getattr(maclcore, name)) for name in maclcore.__all__}
    pages = {name: _room(name, modules, shown) for name, modules in rooms.items()}
    names = "\n".join(map(_public, maclcore.__all__))
    return pages | {"index": PUBLIC.format(rooms="\n   ".join(rooms), names=names)}


def _public(name: str) -> str:
    value = getattr(maclcore, name)
    if isinstance(value, type):
        return f".. autoclass:: {name}\n"
    if callable(value):
        return f".. autofunction:: {name}\n"
    home = f"maclcore.{maclcore._HOME[name]}"
    return f".. py:data:: {name}\n\n   Of :py:mod:`{home}`.\n"


def _room(name: str, modules: list[str], shown: set[int]) -> str:
    """A room that lists its names shows these, but for those that are `shown` already, and what is
    in its files in words; another shows all."""
    title = "The ground floor" if name == "ground" else f"maclcore.{name}"
    parts = [f"{title}\n{'=' * len(title)}\n"]
    lists = hasattr(import_module(modules[0]), "__all__")
    for module in modules:
        one = import_module(module)
        values = {name: getattr(one, name) for name in getattr(one, "__all__", ())}
        again = [name for name, value in values.items() if id(value) in shown]
        shown.update(map(id, values.values()))
        members = values or not lists or module in OTHERS
        options = "   :members:\n" if members else "   :no-index:\n"
        options += f"   :exclude-members: {', '.join(again)}\n" if again else ""
        heading = f"{module}\n{'-' * len(module)}\n\n" if module != title else ""
        parts.append(f"{heading}.. automodule:: {module}\n{options}")
    return "\n".join(parts)

"""The pages of the site: texts of the repository, notebooks, ledger, figures, API."""

import re
import shutil
from html import escape
from pathlib import Path

import api
import nbformat
import pandas as pd
from links import linked

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
    # the README's title and first two parts are the first page, what was found behind the task
    about, finding, *guide = re.split(r"^(?=## )", _text("README.md"), flags=re.MULTILINE)
    heading, task, about = about.split("\n\n", 2)
    parts = {"%TITLE%": heading, "%TASK%": task, "%FINDING%": finding, "%ABOUT%": about}
    index = re.sub("|".join(parts), lambda found: parts[found[0]], _text("docs/index.md"))
    (source / "index.md").write_text(linked(index), encoding="utf-8")
    (source / "guide.md").write_text(linked("# Guide\n\n" + "".join(guide)), encoding="utf-8")
    for name, page in TEXTS.items():
        (source / page).write_text(linked(_text(name)), encoding="utf-8")
    for file in notebooks():
        nbformat.write(staged(file, source / "pictures"), source / "notebooks" / file.name)
    (source / "ledger.md").write_text(ledger(), encoding="utf-8")
    (source / "figures.md").write_text(figures(), encoding="utf-8")
    for name, text in api.pages().items():
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
A verdict holds for the setting that its evidence names.

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

Every figure of record, `figures/`, with the notebook that draws it, and the stored runs that this
notebook had read when it drew: what the figure shows comes from among them. `make figures` draws
all anew.
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

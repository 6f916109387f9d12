"""What a reader has to read: the notebooks as pages, measured in a browser.

    python benchmarks/pages.py          the notebooks as they are
    python benchmarks/pages.py FOLDER   others, such as those of an earlier commit

Each notebook becomes HTML (nbconvert, template lab) and is opened at two widths, that of a usual
window and that of JupyterLab's output beside its file browser. A row each, as Markdown: height,
tables, figures, cells of code that are folded of all, links, pictures without alternative text,
words that JupyterLab takes for mail addresses, where the first figure begins, and what is
wider than its place.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import nbformat
import pandas as pd
from nbconvert import HTMLExporter
from playwright.sync_api import Page, sync_playwright
from traitlets.config import Config

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
WIDTHS = (1280, 848)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MEASURE = """() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const pictures = all(".jp-OutputArea img, .jp-OutputArea .plotly-graph-div");
  const top = (x) => Math.round(x.getBoundingClientRect().top + scrollY);
  const wide = (x) => x.scrollWidth > x.clientWidth + 1
    || [...x.querySelectorAll("img, table")].some(
      (y) => y.getBoundingClientRect().right > x.getBoundingClientRect().right + 1);
  const mail = (x) => {
    const copy = x.cloneNode(true);
    copy.querySelectorAll("code, pre").forEach((y) => y.remove());
    return (copy.textContent.match(/\\w@\\w/g) ?? []).length;
  };
  return {
    "height": document.querySelector("main").scrollHeight,
    "tables": all("table").length,
    "figures": pictures.length,
    "links": all("main a[href]:not(.anchor-link)").length,
    "no alt": all("img").filter((x) => !x.alt || x.alt.startsWith("No description")).length,
    "mail": all(".jp-RenderedMarkdown").map(mail).reduce((a, b) => a + b, 0),
    "first figure": pictures.length ? top(pictures[0]) : null,
    "cut off": all(".jp-OutputArea-output, .jp-MarkdownOutput").filter(wide).length,
  };
}"""


def as_html(notebook: Path, folder: Path) -> tuple[Path, str]:
    """The page, without its folded cells, and how many cells of code are folded, `17/20`.

    nbconvert leaves out inputs by a tag alone, so that folded cells get it.
    """
    read = nbformat.read(notebook, as_version=4)
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    folded = [cell for cell in code if cell.metadata.get("jupyter", {}).get("source_hidden")]
    for cell in folded:
        cell.metadata["tags"] = list({*cell.metadata.get("tags", []), "hide-input"})
    settings = Config()
    settings.TagRemovePreprocessor.enabled = True
    settings.TagRemovePreprocessor.remove_input_tags = {"hide-input"}
    settings.HTMLExporter.mathjax_url = ""
    page = folder / f"{notebook.stem}.html"
    page.write_text(HTMLExporter(config=settings).from_notebook_node(read)[0], encoding="utf-8")
    return page, f"{len(folded)}/{len(code)}"


def measured(page: Page, file: Path, width: int) -> dict[str, object]:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(file.as_uri(), wait_until="load")
    return page.evaluate(MEASURE)


def table(folder: Path) -> pd.DataFrame:
    """A row a notebook; what depends on the width is there twice."""
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    rows = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as pages:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page()
        page.route("http**", lambda route: route.abort())
        for notebook in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
            file, folded = as_html(notebook, Path(pages))
            wide, narrow = (measured(page, file, width) for width in WIDTHS)
            rows[notebook.stem[:2]] = {
                "folded": folded,
                **wide,
                **{f"{key} at {WIDTHS[1]}": narrow[key] for key in ("height", "cut off")},
            }
        opened.close()
    return pd.DataFrame.from_dict(rows, orient="index").convert_dtypes()


def markdown(frame: pd.DataFrame) -> str:
    total = frame.select_dtypes("number").drop(columns="first figure").sum()
    frame = pd.concat([frame, total.to_frame("sum").T.convert_dtypes()])
    lines = [["", *frame.columns], ["---"] * (frame.shape[1] + 1)]
    for name, row in frame.iterrows():
        lines.append([str(name), *("" if pd.isna(value) else f"{value}" for value in row)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=NOTEBOOKS)
    parser.add_argument("--csv", action="store_true", help="instead of Markdown")
    arguments = parser.parse_args()
    found = table(arguments.folder)
    print(found.to_csv() if arguments.csv else markdown(found))

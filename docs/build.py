"""Build the web site: `python docs/build.py [FOLDER]`, by default site/, offline."""

import shutil
import sys
import tempfile
from pathlib import Path

import crate
import plotly.offline
from pages import lay_out
from sphinx.cmd.build import build_main

HERE = Path(__file__).resolve().parent


def build(target: Path) -> int:
    """Sphinx's exit status; a warning is an error."""
    with tempfile.TemporaryDirectory(prefix="maclcore-site-") as folder:
        source, trees = Path(folder) / "source", Path(folder) / "trees"
        lay_out(source)
        shutil.rmtree(target, ignore_errors=True)
        words = ["-q", "-W", "--keep-going", "-c", str(HERE), "-d", str(trees)]
        status = build_main([*words, str(source), str(target)])
        for name in ("figures", "pictures"):
            shutil.copytree(source / name, target / name)
    crate.write(target)
    script = target / "_static" / "plotly.min.js"
    script.write_text(plotly.offline.get_plotlyjs(), encoding="utf-8")
    return status


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else HERE.parent / "site").absolute()
    status = build(where)
    print(where / "index.html")
    sys.exit(status)
